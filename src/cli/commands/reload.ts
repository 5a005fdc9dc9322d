import { davitOnly } from "../archives/load-archive.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { printable } from "../output/printable.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

/** Policies with many keys and runtimes that answer slowly are part of a reload. */
const reloadMs = 60_000;

/** `davit reload`. */
export const reload: Command = {
  name: "reload",
  section: "Server",
  summary: "Make the server read its configuration again",
  details:
    "Prints what changed, and what takes effect only when davit restarts. If a key is invalid, or something\n" +
    "that it names cannot be used, nothing is changed, and the reasons are printed; the exit code is 1 then.\n" +
    "Pods and containers keep running. Only with davit.",
  operands: [],
  options: {},
  examples: [{ line: "davit reload", does: "Use a changed /etc/davit/davit.toml or drop-in" }],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run({ terminal }: Call, server: Server): Promise<number> {
  const answer = davitOnly(server.client.daemon.reload({}, server.limit(reloadMs)));
  const { changed, waiting, refused } = await doing("reload the configuration", answer);
  if (refused.length > 0) {
    terminal.err("nothing was changed:\n");
    for (const reason of refused) terminal.err(`  ${printable(reason)}\n`);
    return exitCode.failed;
  }
  for (const each of changed) terminal.out(`${textOf(each)}\n`);
  if (changed.length === 0 && waiting.length === 0) terminal.out("no setting has changed\n");
  if (waiting.length > 0) {
    terminal.out("when davit restarts (systemctl restart davit; pods keep running):\n");
  }
  for (const each of waiting) {
    const reason = each.reason === "" ? "" : ` (${printable(each.reason)})`;
    terminal.out(`  ${textOf(each)}${reason}\n`);
  }
  return exitCode.done;
}

function textOf(change: { readonly key: string; readonly before: string; readonly after: string }) {
  // runtime.handlers.NAME without a value is a handler that the configuration no longer has.
  const removed = change.after === "none" && /^runtime\.handlers\.[^.]+$/.test(change.key);
  const note = removed ? "; pods that run under it keep it" : "";
  return printable(`${change.key}: ${change.before} -> ${change.after}${note}`);
}
