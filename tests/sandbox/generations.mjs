// The provider's own books: what a past call used, by response id, also when its stream was cut or its usage left out.
const KEPT = 10_000;

export class Generations {
  #rows = new Map();

  open(id, model, usage) {
    const row = { id, model, usage, planned: 0, sent: 0, finished: false };
    this.#rows.set(id, row);
    if (this.#rows.size > KEPT) this.#rows.delete(this.#rows.keys().next().value);
    return row;
  }

  find(id) {
    const row = this.#rows.get(id);
    if (!row) return null;
    // A call that broke off is billed for what had been generated.
    const share = row.finished || !row.planned ? 1 : row.sent / row.planned;
    const completion = Math.ceil(row.usage.output * share);
    return {
      id: row.id,
      model: row.model,
      usage: { prompt_tokens: row.usage.input, completion_tokens: completion, total_tokens: row.usage.input + completion },
      finished: row.finished,
    };
  }
}
