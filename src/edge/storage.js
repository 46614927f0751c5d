// The stores, in one crossing each: values go in as JSON text, rows come out as JSON text.
export class Storage {
  // A statement of the object's own database.
  static exec({ storage: { sql } }, statement, values) { return JSON.stringify(sql.exec(statement, ...JSON.parse(values)).toArray()); }
  // A statement of the journal.
  static async rows({ DB }, statement, values) {
    const { results } = await DB.prepare(statement).bind(...JSON.parse(values)).all();
    return JSON.stringify(results);
  }
  static async get({ KV }, key) { return KV.get(key, { cacheTtl: 30 }); }
  static async put({ KV }, key, text) { return KV.put(key, text); }
}
