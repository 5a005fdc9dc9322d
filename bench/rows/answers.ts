/** Calls that the kubelet makes all the time: status and list, with many sandboxes. */
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  ListPodSandboxRequestSchema,
  PodSandboxStatusRequestSchema,
} from "../../src/gen/runtime/v1/api_pb.ts";
import { load } from "../load.ts";
import { cpuMs } from "../procfs.ts";
import {
  alternate,
  type Bench,
  type Row,
  type RowGroup,
  Samples,
  type Side,
  sidesOf,
} from "../row.ts";
import { percentile } from "../statistics.ts";

const podCount = 100;
const callers = 16;

type Figure = "p50" | "p99" | "rate" | "cpu";

interface Question {
  readonly method: string;
  /** What davit's processor time a call may be of containerd's, and its rate at least. */
  readonly cpuBudget: number;
  readonly rateBudget?: number;
  readonly request: (id: string) => Uint8Array;
}

const status: Question = {
  method: "PodSandboxStatus",
  cpuBudget: 0.7,
  rateBudget: 1,
  request: (podSandboxId) => encoded(PodSandboxStatusRequestSchema, { podSandboxId }),
};

const list: Question = {
  method: "ListPodSandbox",
  cpuBudget: 1,
  request: () => encoded(ListPodSandboxRequestSchema, {}),
};

export const answers: RowGroup = {
  name: "answers",
  withRivals: true,
  measure: async (bench) => {
    const ids = new Map<Side, string>();
    const clear: (() => Promise<void>)[] = [];
    for (const side of sidesOf(bench)) {
      bench.say(`${podCount} sandboxes of ${side.server.name}`);
      const pods = await side.pods.fill(podCount);
      ids.set(side, pods[podCount / 2]?.id ?? "");
      clear.push(() => side.pods.clear(pods));
    }
    const rows: Row[] = [];
    for (const question of [status, list]) rows.push(...(await ask(bench, question, ids)));
    for (const step of clear) await step();
    return rows;
  },
};

async function ask(
  bench: Bench,
  question: Question,
  ids: ReadonlyMap<Side, string>,
): Promise<readonly Row[]> {
  const samples = new Samples<Figure>();
  const rounds = Math.max(3, Math.ceil(bench.rounds / 8));
  await alternate(bench, rounds, async (side, round) => {
    const call = {
      socket: side.server.socket,
      method: `/runtime.v1.RuntimeService/${question.method}`,
      request: question.request(ids.get(side) ?? ""),
    };
    await load({ ...call, callers, durationMs: round === 0 ? 1000 : 200 }); // warms up
    const one = await load({ ...call, callers: 1, durationMs: 1000 });
    samples.add(side, "p50", percentile(one.latenciesMs, 0.5));
    samples.add(side, "p99", percentile(one.latenciesMs, 0.99));
    const processes = side.server.processes();
    const before = cpuMs(processes);
    const many = await load({ ...call, callers, durationMs: 3000 });
    samples.add(side, "cpu", ((cpuMs(processes) - before) / many.latenciesMs.length) * 1000);
    samples.add(side, "rate", many.callsPerSecond);
  });
  const title = `${question.method}, ${podCount} sandboxes`;
  return [
    { title: `${title}: one caller, p50`, unit: "ms", ...samples.of(bench, "p50") },
    { title: `${title}: one caller, p99`, unit: "ms", ...samples.of(bench, "p99") },
    {
      title: `${title}: ${callers} callers, rate`,
      unit: "calls/s",
      ...samples.of(bench, "rate"),
      ...(question.rateBudget !== undefined && {
        budget: { of: "ratio", atLeast: question.rateBudget },
      }),
    },
    {
      title: `${title}: ${callers} callers, CPU a call`,
      unit: "us",
      ...samples.of(bench, "cpu"),
      budget: { of: "ratio", atMost: question.cpuBudget },
      note: "user and system time of all its processes",
    },
  ];
}

function encoded<Schema extends DescMessage>(
  schema: Schema,
  message: MessageInitShape<Schema>,
): Uint8Array {
  return toBinary(schema, create(schema, message));
}
