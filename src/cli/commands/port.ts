import type { JsonValue } from "@bufbuild/protobuf";
import { type PodSandbox, PodSandboxState } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pick } from "../objects/pick.ts";
import { podConfigOf, recordedPod } from "../objects/recorded-config.ts";
import { printable } from "../output/printable.ts";
import { type Server, withServer } from "../server/session.ts";

const protocols = ["tcp", "udp", "sctp"] as const;

/** `davit port`. */
export const port: Command = {
  name: "port",
  section: "Inspection and debugging",
  summary: "Show the address and the published ports of a pod",
  details:
    "A line for each address of the pod, and one for each port that is published on the host, as docker port prints\n" +
    "it. Other ports of the pod are reached at its address, or with davit port-forward. Published ports are known if\n" +
    "the server reports the config of the pod, as davit and containerd do.",
  operands: [{ name: "POD|CONTAINER", complete: "pod-or-container" }],
  options: {},
  examples: [{ line: "davit port web", does: "Show where a pod is reached" }],
  client: true,
  run: (call) => withServer(call, (server) => show(call, server)),
};

async function show(call: Call, server: Server): Promise<number> {
  const [word = ""] = call.operands;
  const found = await pick(word, ["pod", "container"], new Objects(server));
  const pod = found.kind === "image" ? undefined : found.pod;
  if (pod === undefined) {
    throw new CommandFailure(
      exitCode.notFound,
      `show the ports of "${word}": its pod is not listed`,
    );
  }
  call.terminal.out((await addressLines(server, pod)).map((line) => `${line}\n`).join(""));
  return exitCode.done;
}

/** The addresses of a pod and its published ports, a line each. */
export async function addressLines(server: Server, pod: PodSandbox): Promise<readonly string[]> {
  const { status, info } = await recordedPod(server, pod);
  if (status.state !== PodSandboxState.SANDBOX_READY) {
    return [`none: pod ${podPath(pod)} is not ready`];
  }
  const { ip = "", additionalIps = [] } = status.network ?? {};
  const addresses = [ip, ...additionalIps.map((each) => each.ip)].filter((each) => each !== "");
  if (addresses.length === 0) return ["the address of the host"];
  return [...addresses.map(printable), ...publishedPorts(podPath(pod), info)];
}

/** As docker port prints them: 80/tcp -> 0.0.0.0:8080. */
function publishedPorts(path: string, info: JsonValue | undefined): readonly string[] {
  const { portMappings } = podConfigOf(`get the ports of pod "${path}"`, info);
  return portMappings
    .filter(({ hostPort }) => hostPort > 0)
    .map(({ containerPort, hostPort, hostIp, protocol }) => {
      const host = hostIp.includes(":") ? `[${hostIp}]` : hostIp || "0.0.0.0";
      return printable(`${containerPort}/${protocols[protocol] ?? "tcp"} -> ${host}:${hostPort}`);
    });
}
