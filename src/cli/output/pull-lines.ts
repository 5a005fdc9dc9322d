import type { LayerProgress } from "../lifecycle/pull-watch.ts";
import { formatBytes, formatDuration, shortId } from "./figures.ts";
import { type LiveLines, spinnerAt } from "./live-lines.ts";
import type { Style } from "./terminal.ts";

const barWidth = 24;

/**
 * Shows a pull while it lasts: a line with the time, and below it one for each layer, as far as the
 * server tells of them. Nothing is guessed: without figures there is only the time.
 */
export function showPull(
  lines: LiveLines,
  style: Style,
  title: string,
  layersOf: () => readonly LayerProgress[] | undefined,
  nowMs: () => number = () => performance.now(),
): Disposable {
  const begun = nowMs();
  let layers: readonly LayerProgress[] = [];
  return lines.add((now) => {
    // At the end the server has nothing to tell any more, and what it told was true.
    layers = layersOf() ?? layers;
    const time = style.dim(formatDuration(now - begun));
    const head = `${style.dim(spinnerAt(now))} ${title}  ${time}`;
    return [head, ...layers.map((layer) => formatLayer(layer, style))];
  });
}

/** A layer's line: its digest, a bar, and what came of what there is. */
export function formatLayer(layer: LayerProgress, style: Style): string {
  const id = shortId(layer.digest);
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

/** All layers in few words, for a line of something bigger: "12.3MB / 40.1MB"; "" for no figures. */
export function formatTotal(layers: readonly LayerProgress[] | undefined): string {
  if (layers === undefined || layers.length === 0) return "";
  const sum = (of: (layer: LayerProgress) => number): number =>
    layers.reduce((total, layer) => total + of(layer), 0);
  const fetched = sum((layer) => layer.fetchedBytes);
  return `${formatBytes(fetched)} / ${formatBytes(sum((layer) => layer.sizeBytes))}`;
}
