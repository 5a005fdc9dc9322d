import type { MessageInitShape } from "@bufbuild/protobuf";
import type { LinuxContainerResourcesSchema } from "../../gen/runtime/v1/api_pb.ts";
import { parseQuantity } from "../../manifest/index.ts";
import type { Call, Command } from "../command-line/command.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import { containerPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickContainer } from "../objects/pick.ts";
import { sizeQuantity } from "../run-image/sizes.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

const periodUs = 100_000;
// The kernel's least quota (Documentation/scheduler/sched-bwc.rst).
const minQuotaUs = 1_000;

/** `davit update`. */
export const update: Command = {
  name: "update",
  section: "Pods and containers",
  summary: "Change the resource limits of running containers",
  details:
    "The limits apply immediately, and what is not given does not change. They last until the container is removed,\n" +
    "also across davit restart. Less memory than a container uses now is refused. Sizes are as in docker: k, m and g\n" +
    "are powers of 1024.",
  operands: [{ name: "CONTAINER", many: true, complete: "container" }],
  options: {
    memory: { short: "m", value: "SIZE", doc: "Memory limit, such as 512m or 2g" },
    cpus: { value: "NUMBER", doc: "CPU limit, such as 0.5" },
    "cpu-shares": { value: "NUMBER", doc: "Weight of its CPU time; 1024 is that of one CPU" },
    "cpuset-cpus": { value: "LIST", doc: "CPUs that it may use, such as 0-2,4" },
    "cpuset-mems": { value: "LIST", doc: "Memory nodes that it may use" },
    pids: {
      value: "NUMBER",
      formerName: "pids-limit",
      doc: "Maximum number of processes and threads; requires cgroup v2",
    },
  },
  examples: [
    { line: "davit update --memory 512m --cpus 1.5 web", does: "Change two limits" },
    { line: "davit update --pids 200 web/nginx", does: "Limit the number of processes" },
  ],
  client: true,
  run: (call) => {
    const linux = resourcesOf(call);
    return withServer(call, (server) => updateAll(call, server, linux));
  },
};

type Resources = MessageInitShape<typeof LinuxContainerResourcesSchema>;

/** The resources to change. Throws a UsageError if there are none, or for invalid values. */
function resourcesOf({ options }: Call): Resources {
  const memory = options.text("memory");
  const [cpus, shares, pids] = [
    options.text("cpus"),
    options.count("cpu-shares"),
    options.count("pids"),
  ];
  const linux: Resources = {
    ...(memory === undefined ? {} : { memoryLimitInBytes: sizeOf(memory, options) }),
    ...(cpus === undefined
      ? {}
      : { cpuPeriod: BigInt(periodUs), cpuQuota: BigInt(quotaOf(cpus, options)) }),
    ...(shares === undefined ? {} : { cpuShares: BigInt(shares) }),
    ...(pids === undefined ? {} : { unified: { "pids.max": String(pids) } }),
    ...(options.has("cpuset-cpus") ? { cpusetCpus: options.text("cpuset-cpus") ?? "" } : {}),
    ...(options.has("cpuset-mems") ? { cpusetMems: options.text("cpuset-mems") ?? "" } : {}),
  };
  if (Object.keys(linux).length > 0) return linux;
  throw new UsageError("no limit is given: set --memory, --cpus or another option", update);
}

function sizeOf(text: string, options: Call["options"]): bigint {
  const bytes = Math.ceil(parseQuantity(sizeQuantity(options, "memory", text)) ?? 0);
  if (Number.isSafeInteger(bytes) && bytes > 0) return BigInt(bytes);
  throw options.invalid("memory", `is "${text}": must be a size, such as 512m or 2g`);
}

function quotaOf(text: string, options: Call["options"]): number {
  const cpus = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  const quotaUs = Math.round(cpus * periodUs);
  if (quotaUs >= minQuotaUs && Number.isSafeInteger(quotaUs)) return quotaUs;
  throw options.invalid("cpus", `is "${text}": must be a number of CPUs from 0.01 on`);
}

async function updateAll(call: Call, server: Server, linux: Resources): Promise<number> {
  const objects = new Objects(server);
  const tasks: Task[] = [];
  // Resolve all operands before the first container is changed.
  for (const word of new Set(call.operands)) {
    const found = await pickContainer(word, objects);
    const request = { containerId: found.container.id, linux };
    const work = async (): Promise<void> => {
      await doing(
        `update resources of container "${containerPath(found)}"`,
        server.client.runtime.updateContainerResources(request, server.limit(60_000)),
      );
    };
    tasks.push({ name: word, work });
  }
  return await forEach(call, tasks);
}
