/** Pulls of images of different kinds: time, processor time, memory, and davit's event loop meanwhile. */
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { type MeasuredImage, measuredImages, pullImage } from "../images.ts";
import { watchedDavit } from "../loop-watch.ts";
import { cpuWithChildrenMs, pssKib } from "../procfs.ts";
import { type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";
import { timed } from "../statistics.ts";

const settleMs = 2_000;
const sampleMs = 50;

export const images: RowGroup = {
  name: "images",
  measure: async (bench) => {
    const rows: Row[] = [];
    for (const image of measuredImages()) {
      if (image.title.includes(bench.image)) rows.push(...(await measure(bench, image)));
    }
    return rows;
  },
};

async function measure(bench: Bench, image: MeasuredImage): Promise<readonly Row[]> {
  const { title, note } = image;
  const samples = new Samples<"time" | "cpu" | "memory">();
  let variant = 0;
  for (let pulls = Math.max(5, Math.ceil(bench.rounds / 5)); pulls > 0; pulls--) {
    await withVariant(bench, image, variant++, async (name) => {
      for (const side of pulls % 2 === 0 ? [bench.peer, bench.davit] : [bench.davit, bench.peer]) {
        // Neither pays for what the other one left to be written to the disk.
        execFileSync("sync");
        const before = cpuWithChildrenMs(side.server.processes());
        samples.add(side, "time", await timed(() => pullImage(side, name)));
        samples.add(side, "cpu", cpuWithChildrenMs(side.server.processes()) - before);
      }
    });
  }
  // Not in the timed pulls: reading the memory takes processor time.
  await withVariant(bench, image, variant++, async (name) => {
    for (const side of [bench.peer, bench.davit]) {
      samples.add(side, "memory", await peakMiB(side, () => pullImage(side, name)));
    }
  });
  const delays: number[] = [];
  await watchedDavit(bench, async (loopDelayMs) => {
    for (let pulls = 0; pulls < 2; pulls++) {
      await withVariant(bench, image, variant++, async (name) => {
        await loopDelayMs();
        await pullImage(bench.davit, name);
        delays.push(await loopDelayMs());
      });
    }
  });
  return [
    {
      title: `PullImage, ${title}`,
      unit: "ms",
      ...samples.of(bench, "time"),
      budget: { of: "ratio", atMost: 0.7 },
      note: `${note}; after a sync of the disk; neither waits for one at the end, davit syncs a second later`,
    },
    { title: `CPU of PullImage, ${title}`, unit: "ms", ...samples.of(bench, "cpu") },
    {
      title: `peak memory of PullImage, ${title}`,
      unit: "MB",
      ...samples.of(bench, "memory"),
      note: `PSS of the server and its children, every ${sampleMs} ms`,
    },
    {
      title: `event-loop delay p99 of PullImage, ${title}`,
      unit: "ms",
      peer: [],
      davit: delays,
      budget: { of: "p50", atMost: 10 },
      note: "monitorEventLoopDelay inside davit, 1 ms resolution subtracted",
    },
  ];
}

/**
 * Serves one variant during `use`. Its image stays on both sides: ext4 searches long for a free inode for
 * a minute after many files were removed.
 */
async function withVariant(
  bench: Bench,
  image: MeasuredImage,
  variant: number,
  use: (name: string) => Promise<void>,
): Promise<void> {
  bench.say(`making an image: ${image.title}`);
  await using served = await image.serve(variant);
  bench.say(`pulling an image: ${image.title}`);
  await use(served.name);
  await sleep(settleMs);
}

async function peakMiB({ server }: Side, work: () => Promise<void>): Promise<number> {
  const ended = new AbortController();
  let peak = 0;
  const sampling = (async () => {
    while (!ended.signal.aborted) {
      peak = Math.max(peak, pssKib(server.processes()) / 1024);
      await sleep(sampleMs);
    }
  })();
  await work();
  ended.abort();
  await sampling;
  return peak;
}
