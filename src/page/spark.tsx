import type { JSX } from "preact";

const [width, height] = [64, 18];
/** Samples that a sparkline shows. */
const shown = 32;

/** The last values as a line. The top is the largest value, at least `floor`. */
export function Spark({
  values,
  floor,
}: {
  readonly values: readonly (number | undefined)[];
  readonly floor: number;
}): JSX.Element {
  const last = values.slice(-shown);
  const top = Math.max(floor, Number.MIN_VALUE, ...last.map((value) => value ?? 0));
  const step = width / (shown - 1);
  const from = width - (last.length - 1) * step;
  const points = last.flatMap((value, at) =>
    value === undefined
      ? []
      : [
          `${(from + at * step).toFixed(1)},${(height - 1 - (value / top) * (height - 2)).toFixed(1)}`,
        ],
  );
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      {points.length < 2 ? null : <polyline points={points.join(" ")} />}
    </svg>
  );
}
