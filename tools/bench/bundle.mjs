// Makes the upload of a deployment, to be measured.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";

/** Makes the upload in `folder`. */
export function bundle(root, folder) {
  rmSync(folder, { recursive: true, force: true });
  const wrangler = join(root, "node_modules/wrangler/bin/wrangler.js");
  const { status, stdout, stderr } = spawnSync(
    process.execPath, [wrangler, "deploy", "--dry-run", "--minify", "--outdir", folder],
    { cwd: root, encoding: "utf8", env: { ...process.env, WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true", CI: "true" } },
  );
  if (status !== 0) throw new Error(`wrangler deploy --dry-run failed.\n${stdout}${stderr}`);
}
