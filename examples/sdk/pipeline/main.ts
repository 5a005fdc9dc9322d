// A pipeline of pods: one makes lines, several work on them side by side, one collects the results.
// node examples/sdk/pipeline/main.ts [LINES]
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { Davit } from "davit";

const image = "docker.io/library/busybox:1.37";
const [text = "1000"] = process.argv.slice(2);
const lines = Number(text);
const workers = 3;

await using davit = await Davit.connect();
const idle = { command: ["sleep", "3600"], graceSeconds: 0 };
// All pods start at once. They share nothing but this program.
const [source, sink, ...pool] = await Promise.all(
  ["source", "sink", ...Array.from({ length: workers }, (_, at) => `worker-${at}`)].map((name) =>
    davit.run(image, { ...idle, name, labels: { example: "pipeline" }, memory: "32Mi" }),
  ),
);
if (source === undefined || sink === undefined) throw new Error("there are no pods");

// Each worker squares the numbers that it reads.
const square = "while read -r n; do echo $((n * n)); done";
const running = await Promise.all(pool.map((pod) => pod.spawn(["sh", "-c", square])));
const sum = await sink.spawn(["sh", "-c", "s=0; while read -r n; do s=$((s + n)); done; echo $s"]);

// The lines of the source go to the workers in turn.
const numbers = await source.spawn(["seq", "1", String(lines)]);
const spread = (async () => {
  let at = 0;
  for await (const line of createInterface({ input: numbers.stdout })) {
    const worker = running[at++ % running.length];
    if (worker?.stdin.write(`${line}\n`) === false) {
      await new Promise((resolve) => worker.stdin.once("drain", resolve));
    }
  }
  for (const { stdin } of running) stdin.end();
})();
const collect = running.map((worker) => pipeline(worker.stdout, sum.stdin, { end: false }));
await Promise.all([spread, ...collect]);
sum.stdin.end();

let total = "";
for await (const chunk of sum.stdout) total += String(chunk);
const codes = await Promise.all([numbers, ...running, sum].map(({ exit }) => exit));
if (codes.some(({ exitCode }) => exitCode !== 0)) throw new Error("a part of the pipeline failed");
console.log(`the squares of 1 to ${lines} have the sum ${total.trim()}`);
for (const pod of pool) {
  const { cpuMs } = await pod.usage();
  console.log(`${pod.name}: ${cpuMs === undefined ? "unknown" : Math.round(cpuMs)} ms of CPU time`);
}
