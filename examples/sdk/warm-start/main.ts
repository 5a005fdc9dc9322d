// Starts programs warm: node examples/sdk/warm-start/main.ts [COPIES]
//
// One pod prepares something that takes long. Its snapshot then starts pods that have it at once, each of which goes its
// own way. The snapshot has all that the program had in memory: it is removed at the end, and so are the pods.
import { Davit } from "davit";

const image = "docker.io/library/busybox:1.37";

// Needs two seconds until it is ready; then it answers each line of the file "questions".
const program = `
sum=0
for n in $(seq 2000); do sum=$((sum + n)); done
sleep 2
echo ready
touch questions
seen=0
while :; do
  count=$(wc -l <questions)
  while [ $seen -lt $count ]; do
    seen=$((seen + 1))
    echo "$(sed -n "$seen"p questions): $sum"
  done
  sleep 0.05
done`;

const copies = Number(process.argv[2] ?? "3");

async function timed<T>(work: () => Promise<T>): Promise<readonly [T, number]> {
  const begin = performance.now();
  const result = await work();
  return [result, Math.round(performance.now() - begin)];
}

await using davit = await Davit.connect();
const [first, coldMs] = await timed(() =>
  davit.run(image, {
    command: ["sh", "-c", program],
    workdir: "/tmp",
    ready: { log: /^ready$/ },
    graceSeconds: 0,
  }),
);
await using pod = first;
console.log(`cold start: ${coldMs} ms`);

await using snapshot = await pod.snapshot();
const [made, warmMs] = await timed(() => davit.fork(snapshot, copies));
await using fork = made;
console.log(`${copies} warm starts: ${warmMs} ms`);

const answers = fork.pods.map(async (copy, at) => {
  await copy.exec(["sh", "-c", `echo "copy ${at + 1}" >>/tmp/questions`]);
  for await (const { text } of copy.logs({ follow: true })) {
    if (text.startsWith("copy")) return text;
  }
  return "no answer";
});
for (const answer of await Promise.all(answers)) console.log(answer);
