import type { JSX } from "preact";
import { formatDuration, formatOperation } from "./format.ts";
import { barOf, barsOf, type Gap, type PlacedOperation, ticksOf } from "./geometry.ts";
import type { OperationView, PhaseKind } from "./view.ts";

/** The kinds of phases with the names that the legend shows. */
export const kindNames: readonly (readonly [PhaseKind, string])[] = [
  ["cgroup", "cgroup"],
  ["namespace", "namespaces"],
  ["network", "network"],
  ["files", "files and root"],
  ["spec", "spec"],
  ["process", "processes"],
  ["pull", "pulls"],
  ["record", "database"],
];

/** The time axis above the waterfalls. */
export function Axis({ lengthMs }: { readonly lengthMs: number }): JSX.Element {
  return (
    <div class="axis row" aria-hidden="true">
      <span class="label" />
      <span class="lane">
        {ticksOf(lengthMs).map((ms) => (
          <span class="tick" key={ms} style={{ left: `${(ms / lengthMs) * 100}%` }}>
            {ms === 0 ? "0" : formatDuration(ms)}
          </span>
        ))}
      </span>
      <span class="took" />
    </div>
  );
}

/** The waits for the client between operations, which are cut to a fixed length. */
export function Gaps({
  gaps,
  axisMs,
  rows,
}: {
  readonly gaps: readonly Gap[];
  readonly axisMs: number;
  readonly rows: number;
}): JSX.Element {
  return (
    <>
      {gaps.map(({ atMs, lengthMs, tookMs }) => {
        const { left, width } = barOf(atMs, atMs + lengthMs, axisMs);
        const style = {
          left: `${left}%`,
          width: `${width}%`,
          height: `calc(${rows} * var(--row))`,
        };
        return (
          <span
            class="gap"
            key={atMs}
            style={style}
            title={`${formatDuration(tookMs)} until the client's next call`}
          >
            <span>{formatDuration(tookMs)}</span>
          </span>
        );
      })}
    </>
  );
}

/** The times of a pull alone, which are drawn to a smaller scale than the others. */
export function Squeezed({
  parts,
  axisMs,
  rows,
}: {
  readonly parts: readonly Gap[];
  readonly axisMs: number;
  readonly rows: number;
}): JSX.Element {
  return (
    <>
      {parts.map(({ atMs, lengthMs, tookMs }) => {
        const { left, width } = barOf(atMs, atMs + lengthMs, axisMs);
        const height = `calc(${rows} * var(--row))`;
        return (
          <span
            class="squeezed"
            key={atMs}
            style={{ left: `${left}%`, width: `${width}%`, height }}
            title={`${formatDuration(tookMs)} of a pull, drawn to a smaller scale`}
          />
        );
      })}
    </>
  );
}

/** The phases of an operation on the axis of its start. */
export function OperationBars({
  placed: { operation, fromMs, toMs, at },
  axisMs,
}: {
  readonly placed: PlacedOperation;
  readonly axisMs: number;
}): JSX.Element {
  const whole = barOf(fromMs, toMs, axisMs);
  const state = operation.error === undefined ? (operation.running ? "running" : "") : "failed";
  return (
    <>
      <span class={`whole ${state}`} style={{ left: `${whole.left}%`, width: `${whole.width}%` }} />
      {barsOf(operation, at, axisMs).map(({ phase, left, width, failed }, index) => (
        <span
          key={index}
          class={`bar k-${phase.kind}${failed ? " failed" : ""}${width > 1.5 ? " apart" : ""}`}
          style={{ left: `${left}%`, width: `${width}%` }}
        >
          {width > shortName(phase.name).length * 1.05 + 1 ? (
            <span>{shortName(phase.name)}</span>
          ) : null}
        </span>
      ))}
    </>
  );
}

function shortName(name: string): string {
  return name.replace(/^network plugin /, "");
}

/** The phases in words, for a tooltip. */
export function rowTitle(operation: OperationView): string {
  const phases = operation.phases.map(
    ({ name, fromMs, toMs }) => `${name} ${formatDuration(toMs - fromMs)}`,
  );
  const { container, tookMs } = operation;
  const object = container === "" ? "" : ` ${container}`;
  return [`${formatOperation(operation)}${object} ${formatDuration(tookMs)}`, ...phases].join("\n");
}

/** One operation with a line for each phase. */
export function Waterfall({
  operation,
  ago,
}: {
  readonly operation: OperationView;
  readonly ago: string;
}): JSX.Element {
  const { tookMs, error, container, running } = operation;
  return (
    <section class={`waterfall${error === undefined ? "" : " failed"}`}>
      <h3>
        {formatOperation(operation)} <span class="of">{container}</span>
        <span class="took">
          {formatDuration(tookMs)}
          {running ? " so far" : ""}
        </span>
        <span class="dim">{ago}</span>
      </h3>
      {barsOf(operation, (ms) => ms, tookMs).map(({ phase, left, width, failed }, at) => (
        <div class="row" key={at}>
          <span class="label">{phase.name}</span>
          <span class="lane">
            <span
              class={`bar k-${phase.kind}${failed ? " failed" : ""}`}
              style={{ left: `${left}%`, width: `${width}%` }}
            />
          </span>
          <span class="took">{formatDuration(phase.toMs - phase.fromMs)}</span>
        </div>
      ))}
      {error === undefined ? null : <p class="error">{error}</p>}
    </section>
  );
}
