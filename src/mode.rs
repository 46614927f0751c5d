//! The four ways to choose, as words. What each prefers is in `route/`.
use crate::json;
use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Balanced,
    CostFirst,
    LatencyFirst,
    AvailabilityFirst,
}

json::words!(Mode {
    Balanced = "balanced",
    CostFirst = "cost-first",
    LatencyFirst = "latency-first",
    AvailabilityFirst = "availability-first",
});

impl Mode {
    pub const ALL: [Self; 4] = [Self::Balanced, Self::CostFirst, Self::LatencyFirst, Self::AvailabilityFirst];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::CostFirst => "cost-first",
            Self::LatencyFirst => "latency-first",
            Self::AvailabilityFirst => "availability-first",
        }
    }

    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }
}
