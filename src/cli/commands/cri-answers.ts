// Commands of crictl that print a message of the CRI as it is.
import {
  ImageFsInfoResponseSchema,
  ListPodSandboxMetricsResponseSchema,
  RuntimeConfigResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { JsonValue } from "@bufbuild/protobuf";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { formatValue, messageToJson } from "../output/cri-message.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

const options: Command["options"] = {
  output: {
    short: "o",
    value: "FORMAT",
    doc: "Output format (default json)",
    complete: ["json", "yaml"],
  },
};

/** `davit imagefsinfo`. */
export const imageFsInfo: Command = {
  name: "imagefsinfo",
  section: "Inspection and debugging",
  summary: "Print the CRI's message about the disk usage of images, as crictl does",
  operands: [],
  options,
  examples: [{ line: "davit imagefsinfo", does: "Print the usage that kubelet sees" }],
  client: true,
  run: (call) =>
    print(call, async ({ client, limit }) =>
      messageToJson(
        ImageFsInfoResponseSchema,
        await doing("get the disk usage of images", client.image.imageFsInfo({}, limit())),
      ),
    ),
};

/** `davit metricsp`. */
export const podMetrics: Command = {
  name: "metricsp",
  section: "Inspection and debugging",
  summary: "Print the CRI's message with the metrics of pods, as crictl does",
  operands: [],
  options,
  examples: [{ line: "davit metricsp", does: "Print the metrics that kubelet gets" }],
  client: true,
  run: (call) =>
    print(call, async ({ client, limit }) =>
      messageToJson(
        ListPodSandboxMetricsResponseSchema,
        await doing("get the metrics of pods", client.runtime.listPodSandboxMetrics({}, limit())),
      ),
    ),
};

/** `davit runtime-config`. */
export const runtimeConfig: Command = {
  name: "runtime-config",
  section: "Inspection and debugging",
  summary: "Print what the server tells kubelet of its configuration, as crictl does",
  operands: [],
  options,
  examples: [{ line: "davit runtime-config", does: "Print the cgroup driver" }],
  client: true,
  run: (call) =>
    print(call, async ({ client, limit }) =>
      messageToJson(
        RuntimeConfigResponseSchema,
        await doing("get the runtime config", client.runtime.runtimeConfig({}, limit())),
      ),
    ),
};

function print(call: Call, ask: (server: Server) => Promise<JsonValue>): Promise<number> {
  return withServer(call, async (server) => {
    const format = call.options.text("output") === "yaml" ? "yaml" : "json";
    call.terminal.out(formatValue(await ask(server), format));
    return exitCode.done;
  });
}
