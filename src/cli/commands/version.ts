import process from "node:process";
import { VersionResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { formatValue, messageToJson } from "../output/cri-message.ts";
import { outputFormat, outputOption } from "../output/listing.ts";
import { printable } from "../output/printable.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit version`. */
export const version: Command = {
  name: "version",
  section: "Server",
  summary: "Show the versions of this command and of the server",
  details:
    "With -o json or yaml, prints the response of the CRI. davit --version does not need a server.",
  operands: [],
  options: { ...outputOption, short: { doc: "Print only the version numbers" } },
  examples: [
    { line: "davit version", does: "Show both versions" },
    { line: "davit --version", does: "Show only the version of this command" },
  ],
  client: true,
  run: async (call) => {
    const structured = ["json", "yaml"].includes(outputFormat(call));
    // Printed first, so that it is shown even if the server is not reachable.
    if (!structured) {
      const short = call.options.has("short");
      call.terminal.out(short ? `davit ${call.version}\n` : formatVersion(call.version));
    }
    return withServer(call, (server) => show(call, server));
  },
};

async function show(call: Call, { client, endpoint, limit }: Server): Promise<number> {
  const answer = await client.runtime.version({}, limit());
  const format = outputFormat(call);
  if (format === "json" || format === "yaml") {
    call.terminal.out(formatValue(messageToJson(VersionResponseSchema, answer), format));
    return exitCode.done;
  }
  const { runtimeName, runtimeVersion, runtimeApiVersion } = answer;
  if (call.options.has("short")) {
    call.terminal.out(`${printable(`server ${runtimeName} ${runtimeVersion}`)}\n`);
    return exitCode.done;
  }
  call.terminal.out(
    `${printable(`server ${runtimeName} ${runtimeVersion} (CRI ${runtimeApiVersion}, ${endpoint.address})`)}\n`,
  );
  return exitCode.done;
}

/** The line that `davit version` and `davit --version` print. */
export function formatVersion(build: string): string {
  return `davit ${build} (Node.js ${process.version}, ${process.platform} ${process.arch})\n`;
}
