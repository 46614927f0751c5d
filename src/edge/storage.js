// The stores, in one crossing each: values go in as JSON text, rows come out as JSON text.
export class Storage {
  // A statement of the object's own database.
  static exec({ storage: { sql } }, statement, values) { return JSON.stringify(sql.exec(statement, ...JSON.parse(values)).toArray()); }
  // One that answers nothing: its values come as they are. It is read to its end all the same, or the next one would be compiled anew.
  static run({ storage: { sql } }, statement, first, second, third, count) { sql.exec(statement, ...[first, second, third].slice(0, count)).toArray(); }
  // A statement of the journal.
  static async rows({ DB }, statement, values) {
    const { results } = await DB.prepare(statement).bind(...JSON.parse(values)).all();
    return JSON.stringify(results);
  }
  static async get({ KV }, key) { return KV.get(key, { cacheTtl: 30 }); }
  // When a zone's clocks change within twenty years, and what they are ahead of UTC in minutes from then on. A name that is
  // not known throws. Fortnights are looked at, and where one begins and ends differently it is halved until the minute.
  static zone(timeZone, from) {
    const clock = new Intl.DateTimeFormat("en-US", { timeZone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric" });
    const minutes = (at) => {
      const part = Object.fromEntries(clock.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
      return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute) / 60_000 - Math.floor(at / 60_000);
    };
    const changes = [[Math.floor(from / 60_000) * 60_000, minutes(from)]];
    const fortnight = 14 * 86_400_000;
    for (let at = changes[0][0]; at < from + 20 * 366 * 86_400_000; at += fortnight) {
      const after = minutes(at + fortnight);
      if (after === changes.at(-1)[1]) continue;
      let [low, high] = [at, at + fortnight];
      while (high - low > 60_000) {
        const middle = Math.floor((low + high) / 120_000) * 60_000;
        if (minutes(middle) === after) high = middle; else low = middle;
      }
      changes.push([high, after]);
    }
    return JSON.stringify(changes);
  }
  static async put({ KV }, key, text) { return KV.put(key, text); }
}
