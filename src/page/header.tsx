import type { ComponentChildren, JSX } from "preact";
import { formatAge, formatBytes, formatCpu } from "./format.ts";
import type { ActivityView, NodeView, PodView } from "./view.ts";

const recentMs = 10 * 60_000;

/** The state of the node in one line. */
export function Header({
  node,
  activity,
  pods,
  children,
}: {
  readonly node: NodeView | undefined;
  readonly activity: ActivityView | undefined;
  readonly pods: readonly PodView[] | undefined;
  readonly children: ComponentChildren;
}): JSX.Element {
  const nowMs = Date.now();
  const failures = (activity?.failures ?? []).filter(
    ({ startedMs, tookMs }) => nowMs - startedMs - tookMs < recentMs,
  ).length;
  const notReady = (pods ?? []).filter(({ ready, failed }) => !ready || failed).length;
  return (
    <header>
      <h1>
        <span class="mark" aria-hidden="true" />
        {node?.host ?? "davit"}
      </h1>
      {node === undefined ? null : (
        <>
          <p class="facts">
            {node.conditions.map(({ type, ok, reason }) => (
              <span key={type} class={ok ? "chip good" : "chip bad"} title={reason}>
                {conditionName(type)} {ok ? "ready" : `not ready: ${reason}`}
              </span>
            ))}
            <span class="dim version">
              {node.runtime} {node.version}
              {node.upSinceMs === undefined ? "" : ` · up ${formatAge(node.upSinceMs, nowMs)}`}
            </span>
            {node.canWrite ? <span class="chip warn">write access</span> : null}
          </p>
          <div class="meters">
            <Meter
              name="CPU"
              share={node.cpuShare}
              text={`${formatCpu(node.cpuShare)} of ${node.cores}`}
            />
            <Meter
              name="Memory"
              share={node.memoryUsed / node.memoryTotal}
              text={`${formatBytes(node.memoryUsed)} of ${formatBytes(node.memoryTotal)}`}
            />
            {node.disk === undefined ? null : (
              <Meter
                name="Disk"
                share={1 - node.disk.free / node.disk.total}
                text={`${formatBytes(node.disk.free)} free`}
                title={`${node.disk.path}: images ${formatBytes(node.disk.images)}`}
              />
            )}
            <p class="figure">
              <b class={failures > 0 ? "bad" : ""}>{failures}</b> failures in 10 min
            </p>
            <p class="figure">
              <b class={notReady > 0 ? "warn" : ""}>{notReady}</b> pods not ok
            </p>
          </div>
        </>
      )}
      {children}
    </header>
  );
}

function conditionName(type: string): string {
  return type.replace(/Ready$/, "").toLowerCase();
}

function Meter({
  name,
  share = 0,
  text,
  title,
}: {
  readonly name: string;
  readonly share?: number | undefined;
  readonly text: string;
  readonly title?: string;
}): JSX.Element {
  const percent = Math.round(Math.min(1, Math.max(0, share)) * 100);
  const level = percent >= 90 ? "bad" : percent >= 75 ? "warn" : "";
  return (
    <div class={`meter ${level}`} title={title ?? ""}>
      <span>{name}</span>
      <span class="track" role="img" aria-label={`${name} ${percent}%`}>
        <span style={{ width: `${percent}%` }} />
      </span>
      <span class="dim">{text}</span>
    </div>
  );
}
