import { davitOnly } from "../archives/load-archive.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { printable } from "../output/printable.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit tag`. */
export const tag: Command = {
  name: "tag",
  section: "Images",
  summary: "Give an image one more name",
  details: "A name that another image has moves to this one. Only with davit.",
  operands: [{ name: "IMAGE", complete: "image" }, { name: "NAME" }],
  options: {},
  examples: [
    { line: "davit tag app:1 registry.example.com/app:1", does: "Add a name to an image" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const [source = "", target = ""] = call.operands;
  const answer = davitOnly(server.client.davit.tag({ source, target }, server.limit()));
  const { name } = await doing(`tag image "${source}"`, answer);
  call.terminal.out(`${printable(name)}\n`);
  return exitCode.done;
}
