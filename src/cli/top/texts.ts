// The texts that the screen shows as a page.
import { formatLayer } from "../output/pull-lines.ts";
import type { Style } from "../output/terminal.ts";
import { formatWaterfall } from "../why/waterfall.ts";
import { cellText } from "./cells.ts";
import { inflightText, shortSubject } from "./header.ts";
import type { Activity, NodeStatus } from "./node-status.ts";
import { styledLine } from "./pager.ts";

const notReported = "this server does not report it: only davit does";

/** The keys. */
export const help: readonly string[] = [
  "Up Down PgUp PgDn Home End j k g G   select a pod or a container",
  "Space                                show or hide the containers of a pod",
  "Left Right                           hide, show",
  "Tab                                  show or hide the containers of all pods",
  "",
  "Enter l    follow the log of a container; q returns",
  "s          shell: sh in the container; exit or Ctrl-D returns",
  "w          why: state and history of the pod or container",
  "i          inspect: status and verbose info as JSON",
  "x d        stop the pod or container, after a question",
  "",
  "/          filter by names of pods and containers; Esc clears the filter",
  "o          next order: cpu, memory, age, name",
  "C M A N    sort by CPU, memory, age, name",
  "t          show or hide the network traffic of pods",
  "f          the last failures",
  "p          operations and pulls in progress",
  "",
  "Ctrl-L     draw the screen again",
  "Ctrl-Z     suspend; fg continues",
  "q Ctrl-C   quit",
  "",
  "CPU: 100% is one CPU. The sparkline has the peaks of the last minute, each row by its own scale.",
  "MEMORY: the working set. RESTARTS: the attempt of a container, as the client counts it.",
];

/** The operations and pulls in progress. */
export function activityLines({ activity }: NodeStatus, style: Style): readonly string[] {
  if (activity === undefined) return [notReported];
  return [
    style.bold("Operations in progress"),
    ...orNone(activity.inflight.map((operation) => `  ${inflightText(operation)}`)),
    "",
    style.bold("Pulls in progress"),
    ...orNone(pullLines(activity, style)),
  ];
}

function pullLines({ pulls }: Activity, style: Style): readonly string[] {
  return [...pulls].flatMap(([image, layers]) => [
    `  ${cellText(image)}`,
    ...layers.map((layer) => formatLayer({ ...layer, digest: cellText(layer.digest) }, style)),
  ]);
}

/** The last failures, newest first. */
export function failureLines(
  { activity }: NodeStatus,
  nowMs: number,
  style: Style,
): readonly string[] {
  if (activity === undefined) return [notReported];
  const texts = activity.failures.map((failure) => [
    shortSubject(failure.subject),
    ...formatWaterfall(failure, nowMs, style).trimEnd().split("\n").map(styledLine),
    "",
  ]);
  return orNone(texts.flat());
}

function orNone(lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? ["  (none)"] : lines;
}
