// Runs one case so many times. A Worker's clock stands still while it computes: who asks takes the time.
import { cases, run } from "./index.js";

export default {
  fetch(request) {
    const { searchParams: asked } = new URL(request.url);
    if (!asked.has("case")) return new Response(cases());
    run(Number(asked.get("case")), Number(asked.get("times")));
    return new Response();
  },
};
