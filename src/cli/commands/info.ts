import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { type StatusResponse, StatusResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { Objects } from "../objects/objects.ts";
import { formatValue, messageToJson, readInfo } from "../output/cri-message.ts";
import { outputFormat, outputOption } from "../output/listing.ts";
import type { Style } from "../output/terminal.ts";
import { wrapLines } from "../output/wrap.ts";
import { printable } from "../output/printable.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit info`. */
export const info: Command = {
  name: "info",
  section: "Server",
  summary: "Show the status and the features of the server",
  details:
    "With -o json or yaml, prints the verbose Status of the CRI. The exit code is 1 if the server is not\n" +
    "ready to run pods.",
  operands: [],
  options: { output: { ...outputOption.output, alsoNamed: ["-f", "--format"] } },
  examples: [
    { line: "davit info", does: "Show the status of the server" },
    {
      line: "until davit info >/dev/null 2>&1; do sleep 1; done",
      does: "Wait until the server can run pods",
    },
    { line: "davit info -o json | jq .info", does: "Print the verbose status" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => show(call, server)),
};

async function show(call: Call, server: Server): Promise<number> {
  const { client, limit } = server;
  const verbose = client.runtime.status({ verbose: true }, limit());
  const status = await doing("get the server's status", verbose);
  const format = outputFormat(call);
  const ready = status.status?.conditions.every((condition) => condition.status) === true;
  if (format === "json" || format === "yaml") {
    const json = messageToJson(StatusResponseSchema, status) as JsonObject;
    call.terminal.out(formatValue({ ...json, info: readInfo(status.info) }, format));
  } else {
    const facts = await describe(status, server, call.terminal.style);
    const width = Math.max(...facts.map(([key]) => key.length));
    const line = ([key, value]: Fact): string =>
      `${call.terminal.style.bold(key.padEnd(width))}   ${value}\n`;
    call.terminal.out(wrapLines(facts.map(line).join(""), call.terminal.width()));
  }
  return ready ? exitCode.done : exitCode.failed;
}

type Fact = readonly [string, string];

async function describe(
  answer: StatusResponse,
  server: Server,
  style: Style,
): Promise<readonly Fact[]> {
  const objects = new Objects(server);
  const [version, pods, containers, images] = await Promise.all([
    server.client.runtime.version({}, server.limit()),
    objects.pods(),
    objects.containers(),
    objects.images(),
  ]);
  const conditions = answer.status?.conditions ?? [];
  const running = containers.filter(({ container }) => container.state === 1).length;
  return [
    ["Server", printable(`${version.runtimeName} ${version.runtimeVersion}`)],
    ["Socket", server.endpoint.address],
    ...conditions.map(({ type, status, reason, message }): Fact => {
      const why = printable([reason, message].filter((text) => text !== "").join(": "));
      return [printable(type), status ? style.green("yes") : `${style.red("no")}  ${why}`];
    }),
    ["Pods", String(pods.length)],
    ["Containers", `${containers.length}, ${running} running`],
    ["Images", String(images.length)],
    ...handlersOf(answer),
    ...inflight(readInfo(answer.info)["inflight"]),
  ];
}

function handlersOf({ runtimeHandlers, info }: StatusResponse): readonly Fact[] {
  // Only davit reports it.
  const { handlers: captured } = (readInfo(info)["checkpoints"] ?? {}) as { handlers?: JsonValue };
  const text = runtimeHandlers.map(({ name, features }) => {
    const can = [
      features?.recursiveReadOnlyMounts === true ? "recursive read-only mounts" : "",
      features?.userNamespaces === true ? "user namespaces" : "",
      Array.isArray(captured) && captured.includes(name) ? "checkpoints" : "",
    ].filter((word) => word !== "");
    return `${printable(name) || "(default)"}${can.length === 0 ? "" : ` (${can.join(", ")})`}`;
  });
  // Older servers do not report their handlers.
  return text.length === 0 ? [] : [["Handlers", text.join(", ")]];
}

/** The number of operations in progress, which only davit reports. */
function inflight(value: JsonValue | undefined): readonly Fact[] {
  return Array.isArray(value) && value.length > 0
    ? [["Operations", `${value.length} in progress`]]
    : [];
}
