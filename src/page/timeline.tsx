import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { formatClock, formatDuration } from "./format.ts";
import { commonAxis, type Layout, layoutOf, ticksOf } from "./geometry.ts";
import { History } from "./start-chart.tsx";
import type { OperationView, StartView, TimelineView } from "./view.ts";
import { Axis, Gaps, kindNames, OperationBars, rowTitle, Squeezed } from "./waterfall.tsx";

type Scale = "same" | "each";

/** The starts of the last hour: a chart by the clock, and a waterfall for each. */
export function Timeline({
  timeline,
  filter,
  selected,
  select,
}: {
  readonly timeline: TimelineView | undefined;
  readonly filter: string;
  readonly selected: string;
  readonly select: (pod: string) => void;
}): JSX.Element {
  const [scale, setScale] = useState<Scale>("same");
  const [open, setOpen] = useState("");
  const starts = useMemo(
    () => (timeline?.starts ?? []).filter((start) => matches(start, filter)),
    [timeline, filter],
  );
  const layouts = useMemo(() => starts.map(layoutOf), [starts]);
  const commonMs = axisOfStarts(starts, layouts);
  if (timeline?.supported === false) {
    return (
      <p class="empty">
        This server does not report what it did when. The timeline needs the history of operations
        in the verbose status, which davit has.
      </p>
    );
  }
  const hasOwn = ({ kind }: StartView): boolean => scale === "each" || kind === "pull";
  const show = (start: StartView): void => {
    if (start.podId === "") setOpen(open === start.key ? "" : start.key);
    else select(start.podId);
  };
  return (
    <section aria-label="Starts of pods in the last hour" class="timeline">
      <History
        starts={starts.filter(({ kind }) => kind === "start")}
        pick={(key) => document.getElementById(rowId(key))?.focus()}
      />
      <div class="toolbar">
        <Legend />
        <div class="switch" role="group" aria-label="Scale of the waterfalls">
          <button aria-pressed={scale === "same"} onClick={() => setScale("same")}>
            Same scale
          </button>
          <button aria-pressed={scale === "each"} onClick={() => setScale("each")}>
            Fit each
          </button>
        </div>
      </div>
      {starts.length === 0 ? (
        <p class="empty">
          {timeline === undefined
            ? "Loading…"
            : filter === ""
              ? "No pod was started in the last hour."
              : "No start matches the filter."}
        </p>
      ) : (
        <>
          {scale === "same" ? <Axis lengthMs={commonMs} /> : null}
          <div class={`starts ${scale}`} style={{ "--tick": `${tickPercent(commonMs)}%` }}>
            {starts.map((start, at) => (
              <Start
                key={start.key}
                start={start}
                layout={layouts[at] ?? layoutOf(start)}
                axisMs={hasOwn(start) ? (layouts[at]?.lengthMs ?? 1) : commonMs}
                selected={start.podId !== "" && start.podId === selected}
                open={open === start.key}
                show={show}
              />
            ))}
          </div>
        </>
      )}
    </section>
  );
}

/** The axis that all starts have. Pulls take far longer, and have an axis of their own each. */
function axisOfStarts(starts: readonly StartView[], layouts: readonly Layout[]): number {
  const own = layouts.filter((_, at) => starts[at]?.kind === "start");
  return commonAxis(own.map(({ lengthMs }) => lengthMs));
}

/** The distance of two ticks of an axis, in percent of its length. */
function tickPercent(axisMs: number): number {
  return ((ticksOf(axisMs)[1] ?? axisMs) / axisMs) * 100;
}

function matches(
  { namespace, name, podId, image, operations }: StartView,
  filter: string,
): boolean {
  const containers = operations.map(({ container }) => container);
  const text = [`${namespace}/${name}`, podId, image, ...containers].join("\n").toLowerCase();
  return text.includes(filter.toLowerCase());
}

function rowId(key: string): string {
  return `start-${key}`;
}

function Start({
  start,
  layout: { operations, gaps, squeezed, lengthMs },
  axisMs,
  selected,
  open,
  show,
}: {
  readonly start: StartView;
  readonly layout: Layout;
  readonly axisMs: number;
  readonly selected: boolean;
  readonly open: boolean;
  readonly show: (start: StartView) => void;
}): JSX.Element {
  const { namespace, name, image, startedMs, tookMs, state, isWhole } = start;
  const errors = operations.flatMap(({ operation: { error } }) => error ?? []);
  const outcome = state === "done" ? "" : state === "running" ? "in progress" : "failed";
  return (
    <button
      id={rowId(start.key)}
      data-row
      class={`start ${state}${selected ? " selected" : ""}${open ? " open" : ""}${lengthMs > axisMs ? " cut" : ""}`}
      aria-label={`${image === "" ? `${namespace}/${name}` : `pull of ${image}`}, ${formatClock(startedMs)}, ${formatDuration(tookMs)} ${outcome}`}
      aria-pressed={selected}
      onClick={() => show(start)}
    >
      <span class="head">
        <time>{formatClock(startedMs)}</time>
        <span class="name">
          <span class="dim">{image === "" ? `${namespace}/` : "pull "}</span>
          {image === "" ? name : image}
        </span>
        {image === "" || name === "" ? null : (
          <span class="chip">
            for {namespace}/{name}
          </span>
        )}
        {isWhole ? null : <span class="chip">containers only</span>}
        {outcome === "" ? null : (
          <span class={`chip ${state === "failed" ? "bad" : "warn"}`}>{outcome}</span>
        )}
        <span class="took">{formatDuration(tookMs)}</span>
      </span>
      {operations.map((placed, at) => (
        <span
          class={`row ${placed.operation.operation}`}
          key={at}
          title={rowTitle(placed.operation)}
        >
          <span class="label">
            {label(placed.operation.operation)} <span class="of">{objectOf(placed.operation)}</span>
          </span>
          <span class="lane">
            {at === 0 ? (
              <>
                <Squeezed parts={squeezed} axisMs={axisMs} rows={operations.length} />
                <Gaps gaps={gaps} axisMs={axisMs} rows={operations.length} />
              </>
            ) : null}
            <OperationBars placed={placed} axisMs={axisMs} />
          </span>
          <span class="took">{formatDuration(placed.operation.tookMs)}</span>
        </span>
      ))}
      {errors.slice(0, open ? 10 : 1).map((error, at) => (
        <span class="error" key={at}>
          {error}
        </span>
      ))}
    </button>
  );
}

const labels: Readonly<Record<string, string>> = {
  "run-pod-sandbox": "run sandbox",
  "create-container": "create",
  "start-container": "start",
  "pull-image": "pull",
  "pull-layer": "layer",
};

/** Of an image the last part of its name, of a layer its size: the column is narrow, and the tooltip has all. */
function objectOf({ operation, container }: OperationView): string {
  if (operation === "pull-layer") return container.split(" ").at(-1) ?? "";
  if (operation !== "pull-image") return container;
  return (/[^/]+$/.exec(container)?.[0] ?? "").replace(/@sha256:([0-9a-f]{12})[0-9a-f]*$/, "@$1");
}

function label(operation: string): string {
  return labels[operation] ?? operation.replaceAll("-", " ");
}

function Legend(): JSX.Element {
  return (
    <ul class="legend" aria-label="Colors">
      {kindNames.map(([kind, name]) => (
        <li key={kind}>
          <span class={`swatch k-${kind}`} />
          {name}
        </li>
      ))}
    </ul>
  );
}
