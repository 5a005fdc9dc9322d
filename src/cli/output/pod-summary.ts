import type { JsonValue } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  PodSandboxState,
  type PodSandboxStatus,
  type PodSandboxStatusResponse,
  type PortMapping,
  Protocol,
} from "../../gen/runtime/v1/api_pb.ts";
import { member, readInfo } from "./cri-message.ts";
import { formatDuration } from "./figures.ts";
import { printable } from "./printable.ts";
import type { Style } from "./terminal.ts";

const KEY_WIDTH = 13;

/** Fields of a sandbox's verbose info; undefined if they are missing. */
interface SandboxInfo {
  readonly cgroup: string | undefined;
  readonly networkNamespace: string | undefined;
}

/**
 * A PodSandboxStatus as text, with a field in each line. `ports` are those of the
 * request, since the status has none; `now` is used for ages.
 */
export function formatPodSummary(
  answer: PodSandboxStatusResponse,
  context: { readonly ports: readonly PortMapping[]; readonly now: Date; readonly style: Style },
): string {
  const { status } = answer;
  if (status === undefined) return "";
  const { style } = context;
  const info = parseSandboxInfo(answer.info);
  const { name = "", namespace = "" } = status.metadata ?? {};
  const facts: readonly (readonly [string, readonly string[]])[] = [
    ["Pod", [`${printable(namespace)}/${style.bold(printable(name))}`]],
    ["Id", [printable(status.id)]],
    ["State", [formatState(status, context.now, style)]],
    ["Address", addresses(status).map(style.bold)],
    ["Host port", context.ports.filter(({ hostPort }) => hostPort > 0).map(formatPort)],
    ["Runtime", [printable(status.runtimeHandler) || "default handler"]],
    ["Namespaces", formatNamespaces(status)],
    ["Network ns", [printable(info.networkNamespace ?? "")]],
    ["Cgroup", [printable(podCgroup(info.cgroup ?? "", status.id))]],
    ["Labels", pairs(status.labels)],
    ["Annotations", pairs(status.annotations)],
  ];
  return facts.map(([key, values]) => formatFact(key, values, style)).join("");
}

function formatFact(key: string, values: readonly string[], style: Style): string {
  const shown = values.filter((value) => value !== "");
  const keyOf = (index: number): string => style.dim((index === 0 ? key : "").padEnd(KEY_WIDTH));
  return shown.map((value, index) => `  ${keyOf(index)}${value}\n`).join("");
}

/** The cgroup of the pod, which is the parent of the sandbox's cgroup in the info. */
function podCgroup(path: string, id: string): string {
  return path.endsWith(`/${id}`) ? path.slice(0, -id.length - 1) : path;
}

function formatState(status: PodSandboxStatus, now: Date, style: Style): string {
  const ready = status.state === PodSandboxState.SANDBOX_READY;
  const createdMs = Number(status.createdAt / 1_000_000n);
  const age = formatDuration(Math.max(0, now.getTime() - createdMs));
  return `${ready ? style.green("ready") : style.red("not ready")}, created ${age} ago`;
}

function addresses({ network }: PodSandboxStatus): readonly string[] {
  const all = [network?.ip ?? "", ...(network?.additionalIps ?? []).map(({ ip }) => ip)];
  return all.filter((ip) => ip !== "").map(printable);
}

function formatNamespaces(status: PodSandboxStatus): readonly string[] {
  const options = status.linux?.namespaces?.options;
  return [
    `network: ${modeName(options?.network)}`,
    `ipc: ${modeName(options?.ipc)}`,
    `processes: ${modeName(options?.pid)}`,
  ];
}

/** Parses the JSON under the key `info` of a verbose status, with containerd's keys. */
export function parseSandboxInfo(info: Readonly<Record<string, string>>): SandboxInfo {
  const spec = member(readInfo(info)["info"], "runtimeSpec");
  const linux = member(spec, "linux");
  const namespaces = member(linux, "namespaces");
  const network = Array.isArray(namespaces)
    ? namespaces.find((entry) => member(entry, "type") === "network")
    : undefined;
  return {
    cgroup: asText(member(linux, "cgroupsPath")),
    networkNamespace: asText(member(network, "path")),
  };
}

function asText(value: JsonValue | undefined): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function modeName(mode: NamespaceMode | undefined): string {
  if (mode === NamespaceMode.NODE) return "host";
  if (mode === NamespaceMode.CONTAINER) return "container";
  return "pod";
}

function formatPort({ protocol, hostIp, hostPort, containerPort }: PortMapping): string {
  const name = Object.entries(Protocol).find(([, value]) => value === protocol)?.[0] ?? "";
  return `${hostIp === "" ? "" : `${hostIp}:`}${hostPort} -> ${containerPort}/${name.toLowerCase()}`;
}

function pairs(map: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(map).map(([key, value]) => printable(`${key} = ${value}`));
}
