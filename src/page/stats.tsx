import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { formatBytes, formatCpu } from "./format.ts";
import type { UsageSample } from "./store.ts";

/** The usage of a pod as charts. */
export function Stats({ samples }: { readonly samples: readonly UsageSample[] }): JSX.Element {
  const rate = (value: number): string => `${formatBytes(value)}/s`;
  return (
    <div class="body charts">
      <p class="dim">Since this page was opened, at most ten minutes.</p>
      <Chart
        title="CPU"
        samples={samples}
        lines={[["CPU", "cpu"]]}
        format={(value) => formatCpu(value)}
      />
      <Chart
        title="Memory"
        samples={samples}
        lines={[["Working set", "memory"]]}
        format={formatBytes}
      />
      <Chart
        title="Network"
        samples={samples}
        lines={[
          ["Received", "rx"],
          ["Sent", "tx"],
        ]}
        format={rate}
      />
    </div>
  );
}

function Chart({
  title,
  samples,
  lines,
  format,
}: {
  readonly title: string;
  readonly samples: readonly UsageSample[];
  readonly lines: readonly (readonly [string, "cpu" | "memory" | "rx" | "tx"])[];
  readonly format: (value: number) => string;
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data: uPlot.AlignedData = [
    samples.map(({ atMs }) => atMs / 1000),
    ...lines.map(([, key]) => samples.map((sample) => sample[key] ?? null)),
  ];
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const names = lines.map(([name]) => name);
    const chart = new uPlot(optionsOf(names, format, element), data, element);
    plot.current = chart;
    const sizes = new ResizeObserver(() => {
      chart.setSize({ width: element.clientWidth, height });
    });
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      chart.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(data), [samples]);
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <div ref={box} />
    </figure>
  );
}

const height = 150;

function optionsOf(
  names: readonly string[],
  format: (value: number) => string,
  element: HTMLElement,
): uPlot.Options {
  const style = getComputedStyle(element);
  const color = (name: string): string => style.getPropertyValue(name);
  const axis = { stroke: color("--dim"), grid: { stroke: color("--line"), width: 1 } };
  const value = (_: uPlot, given: number | null): string => (given === null ? "–" : format(given));
  return {
    width: element.clientWidth,
    height,
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (_, _low, high) => [0, Math.max(high * 1.1, 1e-3)] } },
    axes: [
      {
        ...axis,
        values: (_, seconds) =>
          seconds.map((each) => new Date(each * 1000).toLocaleTimeString("en-GB")),
        space: 90,
        size: 30,
      },
      { ...axis, values: (_, values) => values.map(format), size: 72 },
    ],
    series: [
      {
        value: (_, seconds: number | null) =>
          seconds === null ? "–" : new Date(seconds * 1000).toLocaleTimeString("en-GB"),
      },
      ...names.map((label, at) => ({
        label,
        value,
        stroke: color(at === 0 ? "--accent" : "--k-network"),
        fill: at === 0 ? color("--accent-soft") : "transparent",
        width: 1.5,
        points: { show: false },
      })),
    ],
  };
}
