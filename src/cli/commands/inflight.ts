import type { JsonValue } from "@bufbuild/protobuf";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { formatValue, readInfo } from "../output/cri-message.ts";
import { formatDuration } from "../output/figures.ts";
import { outputFormat, outputOption } from "../output/listing.ts";
import { type Column, formatTable } from "../output/table.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit inflight`. */
export const inflight: Command = {
  name: "inflight",
  section: "Inspection and debugging",
  summary: "List the operations and calls in progress",
  details:
    "Shows operations with their current stage and network plugin, and the calls of clients, which may\n" +
    "still be queued. Requires a davit server.",
  operands: [],
  options: outputOption,
  examples: [{ line: "davit inflight", does: "Show what a slow pod start is waiting for" }],
  client: true,
  run: (call) => withServer(call, (server) => list(call, server)),
};

type Row = Readonly<Record<string, JsonValue>>;

async function list(call: Call, { client, limit }: Server): Promise<number> {
  const { terminal } = call;
  const answer = client.runtime.status({ verbose: true }, limit());
  const info = readInfo((await doing("get the server's status", answer)).info);
  const { inflight: operations, calls } = info;
  if (!Array.isArray(operations)) {
    throw new CommandFailure(
      exitCode.unsupported,
      "list operations in progress: not supported by this server; requires a davit server",
    );
  }
  // Without the Status call of this command.
  const waiting = rowsOf(calls ?? []).filter(({ method }) => method !== "Status");
  const format = outputFormat(call);
  if (format === "json" || format === "yaml") {
    terminal.out(formatValue({ operations, calls: waiting }, format));
    return exitCode.done;
  }
  const options = { style: terminal.style, width: terminal.width() };
  const rows = rowsOf(operations);
  const tables = [
    ...(rows.length > 0 ? [formatTable(rows, operationColumns, options)] : []),
    ...(waiting.length > 0 ? [formatTable(waiting, callColumns, options)] : []),
  ];
  terminal.out(tables.length > 0 ? tables.join("\n") : "no operations in progress\n");
  return exitCode.done;
}

function rowsOf(value: JsonValue): readonly Row[] {
  if (!Array.isArray(value)) return [];
  return value.filter(
    (row): row is Record<string, JsonValue> =>
      typeof row === "object" && row !== null && !Array.isArray(row),
  );
}

const text = (key: string) => (row: Row) => {
  const value = row[key];
  return typeof value === "string" ? value : "";
};
const time = (key: string) => (row: Row) => {
  const ms = row[key];
  return typeof ms === "number" ? formatDuration(ms) : "";
};

const operationColumns: readonly Column<Row>[] = [
  { title: "OPERATION", of: text("operation") },
  { title: "SUBJECT", of: text("subject") },
  {
    title: "STAGE",
    of: (row) => {
      const detail = text("detail")(row);
      return `${text("stage")(row)}${detail === "" ? "" : ` (${detail})`}`;
    },
  },
  { title: "IN STAGE", of: time("stageAgeMs"), right: true },
  { title: "IN ALL", of: time("ageMs"), right: true },
];

const callColumns: readonly Column<Row>[] = [
  { title: "CALL", of: text("method") },
  { title: "WAITS", of: time("ageMs"), right: true },
  { title: "GIVES UP IN", of: time("leftMs"), right: true },
];
