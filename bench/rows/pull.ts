/** The memory after the pull of a large image and after other work. */
import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { ListPodSandboxRequestSchema } from "../../src/gen/runtime/v1/api_pb.ts";
import { fillWithContainers } from "../containers.ts";
import { pullImage, removeImage, serveLargeImage, withBusybox } from "../images.ts";
import { load } from "../load.ts";
import { pssKib } from "../procfs.ts";
import { type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";

const calls = 40_000;
const podsInAll = 200;
const podsAtATime = 20;
const restMs = 60_000;

export const pull: RowGroup = {
  name: "pull",
  measure: async (bench) => {
    bench.say("making an image of 1 GiB");
    await using image = await serveLargeImage();
    const samples = new Samples<"after">();
    await withBusybox(bench, (busybox) => workHard(bench, busybox, image.name, samples));
    return rows(bench, samples);
  },
};

/** Both at the same time, so that the rest is theirs together; nothing here is timed. */
async function workHard(
  bench: Bench,
  busybox: string,
  large: string,
  samples: Samples<"after">,
): Promise<void> {
  for (const side of [bench.peer, bench.davit]) {
    bench.say(`${calls} calls, ${podsInAll} pods and a pull of ${side.server.name}`);
    await side.server.stop();
    await side.server.start();
    for (let pods = 0; pods < podsInAll; pods += podsAtATime) {
      await side.pods.clear(await fillWithContainers(side, podsAtATime, busybox));
    }
    await callOften(side);
    await pullImage(side, large);
  }
  bench.say(`idle for ${restMs / 1000} s`);
  await sleep(restMs);
  for (const side of [bench.peer, bench.davit]) {
    samples.add(side, "after", pssKib([side.server.main]) / 1024);
    await removeImage(side, large);
  }
}

async function callOften({ server }: Side): Promise<void> {
  const request = toBinary(ListPodSandboxRequestSchema, create(ListPodSandboxRequestSchema, {}));
  const methods = ["ListPodSandbox", "ListContainers", "Version", "Status"];
  for (const method of methods) {
    for (let made = 0; made < calls / methods.length; ) {
      const { latenciesMs } = await load({
        socket: server.socket,
        method: `/runtime.v1.RuntimeService/${method}`,
        // An empty message is one of every method.
        request,
        callers: 16,
        durationMs: 250,
        answersMayBeEmpty: true,
      });
      made += latenciesMs.length;
    }
  }
}

function rows(bench: Bench, samples: Samples<"after">): readonly Row[] {
  return [
    {
      title: `the daemon's memory after ${calls} calls, ${podsInAll} pods and that pull`,
      unit: "MB",
      ...samples.of(bench, "after"),
      budget: { of: "p50", atMost: 100 },
      note: `PSS of the daemon alone, ${restMs / 1000} s later; pods with a container each`,
    },
  ];
}
