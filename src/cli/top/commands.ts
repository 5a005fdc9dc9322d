// Other commands of davit as top runs them: on the objects of its rows, with the output in its pager.
import { stopGrace } from "../../client/pods/stop-grace.ts";
import { counted } from "../../base/counted.ts";
import { StringDecoder } from "node:string_decoder";
import type { Call } from "../command-line/command.ts";
import { Options } from "../command-line/options.ts";
import { execWithStreams } from "../commands/exec.ts";
import { inspectAll } from "../commands/inspect.ts";
import { printContainerLogs } from "../commands/logs.ts";
import { explain } from "../commands/why.ts";
import { GracePeriodLines } from "../lifecycle/grace.ts";
import { stopContainer, stopPod } from "../lifecycle/stop.ts";
import type { Server } from "../server/session.ts";
import { longestLine, plainLine, styledLine } from "./pager.ts";
import type { ContainerRow, Row } from "./rows.ts";

/** The number of lines of a log before those that are followed. */
const tailLines = 500;

/** A call of another command, with these operands and options; an empty value is that of a switch. */
function callOf(
  call: Call,
  operands: readonly string[],
  options: Record<string, string> = {},
): Call {
  const given = new Map(
    Object.entries(options).map(([name, value]) => [name, value === "" ? [] : [value]]),
  );
  return { ...call, operands, options: new Options(given, (message) => new Error(message)) };
}

/** A call whose output is passed to `onLines`, line by line. */
function captured(
  call: Call,
  onLines: (lines: readonly string[]) => void,
  options: { readonly columns?: number; readonly plain: boolean },
): { readonly call: Call; readonly flush: () => void } {
  const collect = (): ((text: string | Uint8Array) => void) & { flush?: () => void } => {
    const decoder = new StringDecoder();
    let rest = "";
    const read = (text: string): void => {
      const lines = `${rest}${text}`.split("\n");
      // A container may never end its line.
      rest = (lines.pop() ?? "").slice(0, longestLine);
      if (lines.length > 0) onLines(lines.map(options.plain ? plainLine : styledLine));
    };
    return Object.assign(
      (text: string | Uint8Array) =>
        read(typeof text === "string" ? text : decoder.write(Buffer.from(text))),
      { flush: () => rest !== "" && read("\n") },
    );
  };
  const [out, err] = [collect(), collect()];
  const width = (): number | undefined => options.columns;
  const terminal = { ...call.terminal, out, err, live: false, errLive: false, width };
  return {
    call: { ...call, terminal },
    flush: () => {
      out.flush?.();
      err.flush?.();
    },
  };
}

/** Receives lines of output. */
export type OnLines = (lines: readonly string[]) => void;

/** The output of `davit why`. */
export async function why(call: Call, server: Server, row: Row, onLines: OnLines): Promise<void> {
  const { call: own, flush } = captured(callOf(call, [row.id]), onLines, { plain: false });
  await explain(own, server);
  flush();
}

/** The output of `davit inspect`. */
export async function inspect(
  call: Call,
  server: Server,
  row: Row,
  onLines: OnLines,
): Promise<void> {
  const words = callOf(call, [row.id], { type: row.kind });
  const { call: own, flush } = captured(words, onLines, { plain: true });
  await inspectAll(own, server);
  flush();
}

/** The last lines of a log, and those that follow until the container has ended or the signal is aborted. */
export async function followLog(
  call: Call,
  server: Server,
  row: ContainerRow,
  onLines: OnLines,
): Promise<void> {
  const words = callOf(call, [row.id], { follow: "", tail: String(tailLines) });
  const { call: own, flush } = captured(words, onLines, { plain: true });
  await printContainerLogs(own, server);
  flush();
}

/** A shell on this terminal. Resolves with its exit code. */
export async function shell(call: Call, server: Server, row: ContainerRow): Promise<number> {
  const words = callOf(call, [row.id, "sh"], { interactive: "", tty: "" });
  return await execWithStreams(words, server);
}

/** The question before a stop, which names the object and its grace period. */
export function stopQuestion(row: Row): string {
  const running = (row.kind === "pod" ? row.containers : [row]).filter((each) => each.running);
  const grace = graceOf(running);
  if (row.kind === "container") {
    return `stop container ${row.path}? It gets its stop signal, and SIGKILL after ${grace} s`;
  }
  const count = counted(running.length, "running container");
  const end = running.length === 0 ? "" : `, which get SIGKILL after ${grace} s`;
  return `stop pod ${row.path}? It has ${count}${end}`;
}

/** The longest grace period of containers, in seconds. */
function graceOf(rows: readonly ContainerRow[]): number {
  return rows.reduce(
    (most, { container }) => Math.max(most, stopGrace(container.container.annotations, undefined)),
    0,
  );
}

/** Stops a pod or a container with its grace period. */
export async function stop(
  call: Call,
  server: Server,
  row: Row,
  lists: { readonly pods: Pods; readonly containers: Containers },
): Promise<void> {
  using grace = new GracePeriodLines(call.terminal, { quiet: true });
  const options = { seconds: undefined, grace };
  if (row.kind === "container") {
    await stopContainer(server, row.container, options);
    return;
  }
  const pod = lists.pods.find(({ id }) => id === row.id);
  if (pod !== undefined) await stopPod(server, pod, lists.containers, options);
}

type Pods = readonly Parameters<typeof stopPod>[1][];
type Containers = Parameters<typeof stopPod>[2];
