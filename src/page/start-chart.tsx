import type { JSX } from "preact";
import { formatClock, formatDuration, formatMinute } from "./format.ts";
import { clockTicks, heightOf } from "./geometry.ts";
import type { StartView } from "./view.ts";

/** The time that the chart shows at least, and at most. */
const [shortestMs, hourMs] = [15 * 60_000, 3_600_000];
const levels = [100, 1_000, 10_000];

/** When pods were started in the last hour, and how long each start took, on a logarithmic scale. */
export function History({
  starts,
  pick,
}: {
  readonly starts: readonly StartView[];
  /** Called with the key of the start that was clicked. */
  readonly pick: (key: string) => void;
}): JSX.Element {
  const toMs = Date.now();
  const oldestMs = Math.min(toMs, ...starts.map(({ startedMs }) => startedMs));
  const lengthMs = Math.min(hourMs, Math.max(shortestMs, (toMs - oldestMs) * 1.06));
  const fromMs = toMs - lengthMs;
  const x = (ms: number): string => `${(0.05 + ((ms - fromMs) / lengthMs) * 0.935) * 100}%`;
  return (
    <figure class="history">
      <figcaption>Starts in the last hour, by duration</figcaption>
      <svg role="img" aria-label={`${starts.length} starts in the last hour`}>
        {levels.map((ms) => (
          <g key={ms}>
            <line x1="0" x2="100%" y1={y(ms)} y2={y(ms)} class="level" />
            <text x="2" y={y(ms)} dy="-3">
              {formatDuration(ms).replace(".0", "")}
            </text>
          </g>
        ))}
        {clockTicks(fromMs, toMs, lengthMs > 30 * 60_000 ? 10 : 5).map((ms) => (
          <g key={ms}>
            <line x1={x(ms)} x2={x(ms)} y1="0" y2="76" class="clock" />
            <text x={x(ms)} y="90" text-anchor="middle">
              {formatMinute(ms)}
            </text>
          </g>
        ))}
        {starts.toReversed().map(({ key, namespace, name, startedMs, tookMs, state }) => (
          <g key={key} class={`dot ${state}`} onClick={() => pick(key)}>
            <title>
              {`${formatClock(startedMs)} ${namespace}/${name} ${formatDuration(tookMs)}`}
            </title>
            <line x1={x(startedMs)} x2={x(startedMs)} y1="76" y2={y(tookMs)} />
            <circle cx={x(startedMs)} cy={y(tookMs)} r="3.5" />
            <circle cx={x(startedMs)} cy={y(tookMs)} r="9" class="target" />
          </g>
        ))}
      </svg>
    </figure>
  );
}

function y(ms: number): number {
  return 76 - (heightOf(ms) / 100) * 70;
}
