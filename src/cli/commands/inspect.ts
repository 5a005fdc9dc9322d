import type { JsonValue } from "@bufbuild/protobuf";
import {
  ContainerStatusSchema,
  ImageSchema,
  PodSandboxStatusSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { Objects } from "../objects/objects.ts";
import { type Found, type Kind, pick } from "../objects/pick.ts";
import { formatValue, messageToJson, readInfo } from "../output/cri-message.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

const kinds: readonly Kind[] = ["pod", "container", "image"];

/** `davit inspect`. */
export const inspect: Command = {
  name: "inspect",
  section: "Inspection and debugging",
  summary: "Show the status of pods, containers and images",
  details: "Prints the status of the CRI and the verbose info of the server as JSON or YAML.",
  operands: [{ name: "OBJECT", many: true, complete: "object" }],
  options: {
    output: {
      short: "o",
      value: "FORMAT",
      alsoNamed: ["-f", "--format"],
      doc: "Output format (default json)",
      complete: ["json", "yaml"],
    },
    type: { value: "KIND", doc: "Kind of the object, if its name is ambiguous", complete: kinds },
  },
  examples: [
    { line: "davit inspect web", does: "Show a pod or a container" },
    { line: "davit inspect --type image busybox -o yaml", does: "Show an image as YAML" },
    { line: "davit inspect web/nginx | jq .info.pid", does: "Print the process id of a container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => inspectAll(call, server)),
};

/** Prints the statuses of the objects that the call names. */
export async function inspectAll(call: Call, server: Server): Promise<number> {
  const objects = new Objects(server);
  const allowedKinds = kinds.filter((kind) => (call.options.text("type") ?? kind) === kind);
  const found: Found[] = [];
  for (const word of call.operands) found.push(await pick(word, allowedKinds, objects));
  const values = await Promise.all(found.map((each) => statusOf(each, server)));
  const [first = null] = values;
  const format = call.options.text("output") === "yaml" ? "yaml" : "json";
  call.terminal.out(formatValue(values.length === 1 ? first : values, format));
  return exitCode.done;
}

async function statusOf(found: Found, { client, limit }: Server): Promise<JsonValue> {
  switch (found.kind) {
    case "pod": {
      const what = `inspect pod "${found.pod.id}"`;
      const request = { podSandboxId: found.pod.id, verbose: true };
      const call = client.runtime.podSandboxStatus(request, limit());
      const { status, info } = await doing(what, call);
      return withInfo(status && messageToJson(PodSandboxStatusSchema, status), info, what);
    }
    case "container": {
      const what = `inspect container "${found.container.id}"`;
      const request = { containerId: found.container.id, verbose: true };
      const call = client.runtime.containerStatus(request, limit());
      const { status, info } = await doing(what, call);
      return withInfo(status && messageToJson(ContainerStatusSchema, status), info, what);
    }
    case "image": {
      const what = `inspect image "${found.image.id}"`;
      const request = { image: { image: found.image.id }, verbose: true };
      const call = client.image.imageStatus(request, limit());
      const { image, info } = await doing(what, call);
      return withInfo(image && messageToJson(ImageSchema, image), info, what);
    }
  }
}

/** The form that crictl prints. The info of containers and pods is a JSON text under the key "info". */
function withInfo(
  status: JsonValue | undefined,
  info: Readonly<Record<string, string>>,
  what: string,
): JsonValue {
  if (status === undefined) {
    throw new CommandFailure(exitCode.notFound, `${what}: not found, it was removed meanwhile`);
  }
  const { info: own, ...rest } = readInfo(info);
  const facts = typeof own === "object" && own !== null && !Array.isArray(own) ? own : {};
  const text = own === undefined || own === facts ? {} : { info: own };
  return { status, info: { ...facts, ...text, ...rest } };
}
