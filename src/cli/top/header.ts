import { availableParallelism, hostname, totalmem } from "node:os";
import { formatBytes, formatDuration } from "../output/figures.ts";
import { formatTotal } from "../output/pull-lines.ts";
import { cellText } from "./cells.ts";
import type { Drawing } from "./columns.ts";
import type { Activity } from "./node-status.ts";
import type { PodRow } from "./rows.ts";
import type { Sample } from "./sample.ts";
import { bar } from "./symbols.ts";
import { sumOf } from "./usage.ts";

/** The machine of the server, which a unix socket does not leave. */
export interface Machine {
  readonly name: string;
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** This machine, which is that of the server: its socket is a file. */
export function thisMachine(): Machine {
  return { name: hostname(), cpus: availableParallelism(), memoryBytes: totalmem() };
}

/** What the header needs besides the sample. */
export interface HeaderFacts {
  /** Name and version of the server. */
  readonly server: string;
  readonly machine: Machine;
  /** All pods, whether a filter shows them or not. */
  readonly pods: readonly PodRow[];
}

/** The failures of this time are counted. */
const recentMs = 600_000;
const barCells = 10;

/** The lines above the table: the node, the use of its pods, and with davit what is in progress. */
export function headerLines(
  sample: Sample,
  facts: HeaderFacts,
  drawing: Drawing,
): readonly string[] {
  const { node } = sample;
  const lines = [nodeLine(sample, facts, drawing), useLine(sample, facts, drawing)];
  if (node.activity !== undefined) lines.push(activityLine(node.activity, drawing));
  if (node.reason !== "") lines.push(drawing.style.red(cellText(node.reason)));
  return lines;
}

function nodeLine(
  { node, pods, containers }: Sample,
  facts: HeaderFacts,
  drawing: Drawing,
): string {
  const { style, symbols } = drawing;
  const running = facts.pods.reduce((sum, pod) => sum + pod.running, 0);
  const parts = [
    `${style.bold(cellText(facts.server))} on ${cellText(facts.machine.name)}`,
    node.ready ? style.green("ready") : style.red("not ready"),
    node.networkReady ? style.green("network ready") : style.red("network not ready"),
    `${pods.length} pods`,
    `${containers.length} containers, ${running} running`,
  ];
  return parts.join(` ${symbols.separator} `);
}

function useLine({ imageBytes }: Sample, facts: HeaderFacts, { symbols }: Drawing): string {
  const { machine, pods } = facts;
  const cpu = sumOf(pods.map((pod) => pod.cpu));
  const memory = sumOf(pods.map(({ memoryBytes }) => memoryBytes));
  const parts = [
    `CPU ${bar((cpu ?? 0) / machine.cpus, barCells, symbols)} ` +
      `${cpu === undefined ? "-" : cpu.toFixed(2)} of ${machine.cpus}`,
    `memory ${bar((memory ?? 0) / machine.memoryBytes, barCells, symbols)} ` +
      `${memory === undefined ? "-" : formatBytes(memory)} of ${formatBytes(machine.memoryBytes)}`,
    `images ${imageBytes === undefined ? "-" : formatBytes(imageBytes)}`,
  ];
  return parts.join("   ");
}

function activityLine({ inflight, failures, pulls }: Activity, drawing: Drawing): string {
  const { style, symbols, nowMs } = drawing;
  const [longest] = inflight;
  const [pull] = pulls;
  const recent = recentFailures(failures, nowMs);
  const parts = [
    recent === 0 ? "failures in 10 min: 0" : style.red(`failures in 10 min: ${recent}`),
    `in flight ${inflight.length}${longest === undefined ? "" : `: ${inflightText(longest)}`}`,
    `pulls ${pulls.size}${pull === undefined ? "" : `: ${pullText(pull)}`}`,
  ];
  return parts.join(` ${symbols.separator} `);
}

/** The number of failures in the last 10 minutes. */
export function recentFailures(failures: Activity["failures"], nowMs: number): number {
  return failures.filter(({ startedMs, tookMs }) => startedMs + tookMs > nowMs - recentMs).length;
}

/** "run pod sandbox web_default in add-network (bridge), 9.2 s". */
export function inflightText(operation: Activity["inflight"][number]): string {
  const { detail, stages, subject, tookMs } = operation;
  const stage = stages.at(-1)?.stage;
  const plugin = detail === undefined ? "" : ` (${cellText(detail)})`;
  const where = stage === undefined ? "" : ` in ${cellText(stage)}${plugin}`;
  const verb = cellText(operation.operation).replaceAll("-", " ");
  return `${verb} ${shortSubject(subject)}${where}, ${formatDuration(tookMs)}`;
}

/** Subjects are ids, image names, or davit's names of pods and containers (NAME_NAMESPACE_UID_ATTEMPT). */
export function shortSubject(subject: string): string {
  if (/^[0-9a-f]{64}$/.test(subject)) return subject.slice(0, 12);
  const parts = subject.split("_");
  return cellText(parts.length >= 4 ? parts.slice(0, -2).join("_") : subject);
}

function pullText([image, layers]: readonly [string, Parameters<typeof formatTotal>[0]]): string {
  return [cellText(image), formatTotal(layers)].filter((text) => text !== "").join(" ");
}
