// Runs code that nobody has read, in a sandbox with limits: node examples/sdk/untrusted-code/main.ts [SCRIPT]
//
// The sandbox has no network, no capabilities, a read-only root, one directory to write to, and limits of memory, CPU,
// processes and time. The code gets files, and gives files back.
import { Davit, DavitError, ExecError } from "davit";

const image = "docker.io/library/busybox:1.37";

/** What the code did. */
interface Outcome {
  readonly result: string | undefined;
  readonly output: string;
  readonly problem: string | undefined;
}

async function runUntrusted(davit: Davit, code: string, input: string): Promise<Outcome> {
  await using box = await davit.run(image, {
    command: ["sleep", "3600"],
    network: "none",
    memory: "64Mi",
    cpus: 0.5,
    pids: 32,
    user: 65534,
    readOnlyRoot: true,
    noNewPrivileges: true,
    capabilities: { drop: ["ALL"] },
    mounts: [{ tmp: "/box" }],
    // The end of the sandbox, whatever happens here.
    timeoutMs: 60_000,
    graceSeconds: 0,
  });
  await box.write("/box/code.sh", code);
  await box.write("/box/input", input);
  let output = "";
  let problem: string | undefined;
  try {
    const command = ["sh", "/box/code.sh"];
    const options = { workdir: "/box", timeoutMs: 5_000, maxOutputBytes: 100_000 };
    output = (await box.exec(command, options)).stdout;
  } catch (error) {
    if (!(error instanceof DavitError)) throw error;
    problem = error.message;
    if (error instanceof ExecError) output = error.stdout;
  }
  let result: string | undefined;
  try {
    result = await box.readText("/box/result");
  } catch {
    // The code wrote none.
  }
  return { result, output, problem };
}

const programs: Readonly<Record<string, string>> = {
  "counts words": "tr ' ' '\\n' <input | sort | uniq -c | sort -rn | head -n 1 >result; echo done",
  "starts too many processes": "i=0; while [ $i -lt 100 ]; do sleep 4 & i=$((i + 1)); done",
  "never ends": "while :; do :; done",
  "reaches for the network": "wget -q -T 2 -O result http://192.0.2.1/",
  "writes to the system": "echo changed >/etc/passwd",
};

await using davit = await Davit.connect();
const [script] = process.argv.slice(2);
const chosen = script === undefined ? programs : { [script]: script };
for (const [name, code] of Object.entries(chosen)) {
  const { result, output, problem } = await runUntrusted(davit, code, "a rose is a rose is a rose");
  console.log(`${name}:`);
  if (output !== "") console.log(`  output: ${output.trim()}`);
  if (result !== undefined) console.log(`  result: ${result.trim()}`);
  if (problem !== undefined) console.log(`  stopped: ${problem.split("\n")[0] ?? ""}`);
}
