// What a server recorded of the requests that created pods and containers: the configs in verbose statuses.
// davit and containerd report them as Go's JSON of the message.
import { type DescMessage, fromJson, type JsonValue, type MessageShape } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import {
  type ContainerConfig,
  ContainerConfigSchema,
  type ContainerStatus,
  type PodSandboxConfig,
  type PodSandbox,
  PodSandboxConfigSchema,
  type PodSandboxStatus,
} from "../../gen/runtime/v1/api_pb.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { member, readInfo } from "../output/cri-message.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { containerPath, type PodContainer, podPath } from "./find.ts";

/** A verbose status. */
export interface Recorded<Status> {
  readonly status: Status;
  /** The text under the key "info", parsed. */
  readonly info: JsonValue | undefined;
}

/** The verbose status of a container. Throws `not-found` if it was removed meanwhile. */
export async function recordedContainer(
  { client, limit }: Server,
  found: PodContainer,
): Promise<Recorded<ContainerStatus>> {
  const what = `get the status of container "${containerPath(found)}"`;
  const request = { containerId: found.container.id, verbose: true };
  const { status, info } = await doing(what, client.runtime.containerStatus(request, limit()));
  if (status === undefined) throw gone(what);
  return { status, info: readInfo(info)["info"] };
}

/** The verbose status of a pod. Throws `not-found` if it was removed meanwhile. */
export async function recordedPod(
  { client, limit }: Server,
  pod: PodSandbox,
): Promise<Recorded<PodSandboxStatus>> {
  const what = `get the status of pod "${podPath(pod)}"`;
  const request = { podSandboxId: pod.id, verbose: true };
  const { status, info } = await doing(what, client.runtime.podSandboxStatus(request, limit()));
  if (status === undefined) throw gone(what);
  return { status, info: readInfo(info)["info"] };
}

function gone(what: string): CommandFailure {
  return new CommandFailure(exitCode.notFound, `${what}: not found, it was removed meanwhile`);
}

/**
 * The config that a container was created with. Throws `unsupported` if the server does not report it, or not
 * without a loss: then a container that is created from it would be another one.
 */
export function containerConfigOf(what: string, info: JsonValue | undefined): ContainerConfig {
  return configOf(what, ContainerConfigSchema, withEncodedValues(what, member(info, "config")));
}

/** The config that a pod was created with. Throws as `containerConfigOf`. */
export function podConfigOf(what: string, info: JsonValue | undefined): PodSandboxConfig {
  return configOf(what, PodSandboxConfigSchema, member(info, "config"));
}

function configOf<Desc extends DescMessage>(
  what: string,
  schema: Desc,
  json: JsonValue | undefined,
): MessageShape<Desc> {
  if (json === undefined) throw lost(what, "the server does not report its config");
  if (hasUnsafeNumber(json)) throw lost(what, "its config has a number above 2^53");
  try {
    return fromJson(schema, json);
  } catch (error) {
    throw lost(what, `its config has a field that this command does not know: ${messageOf(error)}`);
  }
}

/** Go's JSON has the values of variables as text, with U+FFFD for what is not UTF-8; that of protobuf has base64. */
function withEncodedValues(what: string, config: JsonValue | undefined): JsonValue | undefined {
  const envs = member(config, "envs");
  if (typeof config !== "object" || config === null || Array.isArray(config)) return undefined;
  if (!Array.isArray(envs)) return config;
  const encoded = envs.map((each): JsonValue => {
    const [key, value] = [member(each, "key"), member(each, "value")];
    if (typeof value !== "string" || typeof key !== "string") return each;
    if (value.includes("\ufffd")) {
      throw lost(what, `the value of its variable "${key}" is not UTF-8`);
    }
    return { key, value: Buffer.from(value).toString("base64") };
  });
  return { ...config, envs: encoded };
}

/** JSON.parse() has rounded such numbers. */
function hasUnsafeNumber(value: JsonValue): boolean {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value);
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).some((each: JsonValue | undefined) =>
    each === undefined ? false : hasUnsafeNumber(each),
  );
}

function lost(what: string, reason: string): CommandFailure {
  return new CommandFailure(
    exitCode.unsupported,
    `${what}: ${reason}; use "davit run --replace FILE" with its manifest`,
  );
}

/** Whether kubelet created a container: it restarts and removes its containers itself. */
export function isOfKubelet({ container, pod }: PodContainer): boolean {
  return (
    container.annotations["io.kubernetes.container.hash"] !== undefined ||
    (pod !== undefined && isPodOfKubelet(pod))
  );
}

/** Whether kubelet created a pod (kubelet/types/pod_update.go: the source of its pods). */
export function isPodOfKubelet({ annotations }: PodSandbox): boolean {
  return annotations["kubernetes.io/config.source"] !== undefined;
}
