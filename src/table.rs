//! A small map, in order of its keys: pairs in a list, found by halving. What has hundreds of rows needs no tree, and a
//! tree is eight times as much code in the upload for every type it holds, a hash map four times. And a queue in order.
use serde::{Serialize, Serializer};
use std::{borrow::Borrow, cmp::Ordering, collections::VecDeque};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<K, V>(Vec<(K, V)>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Where among so many the one is that compares as equal, or would be: once for all types.
#[inline(never)]
fn halved(len: usize, compare: &mut dyn FnMut(usize) -> Ordering) -> Result<usize, usize> {
    let (mut from, mut to) = (0, len);
    while from < to {
        let middle = usize::midpoint(from, to);
        match compare(middle) {
            Ordering::Equal => return Ok(middle),
            Ordering::Less => from = middle + 1,
            Ordering::Greater => to = middle,
        }
    }
    Err(from)
}

impl<K: Ord, V> Table<K, V> {
    #[inline(never)]
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        halved(self.0.len(), &mut |at| self.0.get(at).map_or(Ordering::Greater, |(known, _)| known.borrow().cmp(key)))
    }

    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().and_then(|place| self.0.get(place)).map(|(_, value)| value)
    }

    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    #[must_use]
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Sets a value.
    pub fn insert(&mut self, key: K, value: V) {
        match self.place(&key) {
            Ok(place) => {
                if let Some(row) = self.0.get_mut(place) {
                    row.1 = value;
                }
            }
            Err(place) => self.0.insert(place, (key, value)),
        }
    }

    /// Inserts what can be found again: a table that is full begins anew.
    pub fn remember(&mut self, key: K, value: V, most: usize) {
        if self.len() >= most {
            *self = Self::default();
        }
        self.insert(key, value);
    }

    /// Changes a value; one that is not there begins as the default.
    pub fn change(&mut self, key: &K, change: impl FnOnce(&mut V))
    where
        K: Clone,
        V: Default,
    {
        let place = self.place(key).unwrap_or_else(|place| {
            self.0.insert(place, (key.clone(), V::default()));
            place
        });
        if let Some((_, value)) = self.0.get_mut(place) {
            change(value);
        }
    }

    /// Takes a value out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| self.0.remove(place).1)
    }

    /// Keeps what passes.
    pub fn retain(&mut self, mut passes: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| passes(key, value));
    }
}

impl<K, V> Table<K, V> {
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(rows: I) -> Self {
        let mut table = Self::default();
        rows.into_iter().for_each(|(key, value)| table.insert(key, value));
        table
    }
}

/// Rows in order, each once, of which most come last and leave first: what lies on the nearer side of a change moves.
#[derive(Clone, Debug)]
pub struct Queue<T>(VecDeque<T>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Ord> Queue<T> {
    pub fn insert(&mut self, row: T) {
        if let Err(place) = self.0.binary_search(&row) {
            self.0.insert(place, row);
        }
    }

    pub fn remove(&mut self, row: &T) {
        if let Ok(place) = self.0.binary_search(row) {
            self.0.remove(place);
        }
    }
}

impl<T> Queue<T> {
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.0.front()
    }

    /// Takes the first row out if it passes.
    pub fn take_first(&mut self, passes: impl FnOnce(&T) -> bool) -> Option<T> {
        if self.first().is_some_and(passes) { self.0.pop_front() } else { None }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Serialize, V: Serialize> Serialize for Table<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_makes_room_for_itself() {
        let mut table = Table::default();
        for key in 0..3 {
            table.remember(key, key, 2);
        }
        assert_eq!((table.len(), table.get(&2), table.get(&1)), (1, Some(&2), None));
    }

    #[test]
    fn rows_are_found_and_stay_in_order() {
        let mut table = Table::default();
        for (key, value) in [("b", 1), ("c", 2), ("a", 3), ("b", 4)] {
            table.insert(key.to_owned(), value);
        }
        assert_eq!(serde_json::to_string(&table).expect("plain data"), r#"{"a":3,"b":4,"c":2}"#);
        assert_eq!((table.get("b"), table.get("x"), table.len()), (Some(&4), None, 3));
        assert_eq!((table.remove("a"), table.remove("a")), (Some(3), None));
        table.change(&"c".to_owned(), |value| *value = 9);
        table.retain(|_, value| *value > 4);
        assert_eq!(table.iter().collect::<Vec<_>>(), [(&"c".to_owned(), &9)]);
    }

    #[test]
    fn a_queue_is_in_order_and_has_each_row_once() {
        let mut queue = Queue::default();
        for row in [3, 1, 2, 3, 5] {
            queue.insert(row);
        }
        queue.remove(&2);
        queue.remove(&4);
        assert_eq!(queue.iter().rev().collect::<Vec<_>>(), [&5, &3, &1]);
        assert_eq!((queue.take_first(|row| *row > 1), queue.take_first(|row| *row == 1)), (None, Some(1)));
        assert_eq!((queue.first(), queue.len(), queue.is_empty()), (Some(&3), 2, false));
    }
}
