import type { LayerProgress } from "../lifecycle/pull-progress.ts";
import { formatBytes, formatDuration, shortId } from "./figures.ts";
import { type LiveLines, spinnerAt } from "./live-lines.ts";
import { printable } from "./printable.ts";
import type { Style } from "./terminal.ts";

const barWidth = 24;

/**
 * Shows a pull in progress: a line with the elapsed time, and below it a line for each layer, if the
 * server reports them.
 */
export function showPull(
  lines: LiveLines,
  style: Style,
  title: string,
  layersOf: () => readonly LayerProgress[] | undefined,
  nowMs: () => number = () => performance.now(),
): Disposable {
  const startedMs = nowMs();
  let layers: readonly LayerProgress[] = [];
  return lines.add((now) => {
    // At the end the server no longer reports layers: keep the last ones.
    layers = layersOf() ?? layers;
    const time = style.dim(formatDuration(now - startedMs));
    const head = `${style.dim(spinnerAt(now))} ${title}  ${time}`;
    return [head, ...layers.map((layer) => formatLayer(layer, style))];
  });
}

/** The line of a layer: its digest, a progress bar, and the fetched and the total size. */
export function formatLayer(layer: LayerProgress, style: Style): string {
  const id = printable(shortId(layer.digest));
  const size = formatBytes(layer.sizeBytes);
  switch (layer.state) {
    case "waiting":
      return `    ${id}  ${style.dim("waiting".padEnd(barWidth + 2))}  ${size}`;
    case "done":
      return `    ${id}  ${style.green("done".padEnd(barWidth + 2))}  ${size}`;
    case "unpacking":
      return `    ${id}  ${"unpacking".padEnd(barWidth + 2)}  ${size}`;
    case "fetching": {
      const share = layer.sizeBytes === 0 ? 1 : Math.min(1, layer.fetchedBytes / layer.sizeBytes);
      if (share === 1) return formatLayer({ ...layer, state: "unpacking" }, style);
      const full = Math.floor(share * barWidth);
      const bar = `[${"=".repeat(full)}${full < barWidth ? ">" : ""}`.padEnd(barWidth + 1);
      return `    ${id}  ${bar}]  ${formatBytes(layer.fetchedBytes)} / ${size}`;
    }
  }
}

/** The fetched and the total size of all layers: "12.3MB / 40.1MB"; "" if there are none. */
export function formatTotal(layers: readonly LayerProgress[] | undefined): string {
  if (layers === undefined || layers.length === 0) return "";
  const sum = (of: (layer: LayerProgress) => number): number =>
    layers.reduce((total, layer) => total + of(layer), 0);
  const fetched = sum((layer) => layer.fetchedBytes);
  return `${formatBytes(fetched)} / ${formatBytes(sum((layer) => layer.sizeBytes))}`;
}
