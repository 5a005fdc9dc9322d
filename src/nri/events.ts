// The events of NRI: their bits in a subscription, and which of them a runtime knows.
import { RuntimeError } from "../base/errors.ts";
import { Event, EventSchema } from "../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { EventName } from "./handlers.ts";

const eventOf = {
  runPodSandbox: Event.RUN_POD_SANDBOX,
  stopPodSandbox: Event.STOP_POD_SANDBOX,
  removePodSandbox: Event.REMOVE_POD_SANDBOX,
  createContainer: Event.CREATE_CONTAINER,
  postCreateContainer: Event.POST_CREATE_CONTAINER,
  startContainer: Event.START_CONTAINER,
  postStartContainer: Event.POST_START_CONTAINER,
  updateContainer: Event.UPDATE_CONTAINER,
  postUpdateContainer: Event.POST_UPDATE_CONTAINER,
  stopContainer: Event.STOP_CONTAINER,
  removeContainer: Event.REMOVE_CONTAINER,
  updatePodSandbox: Event.UPDATE_POD_SANDBOX,
  postUpdatePodSandbox: Event.POST_UPDATE_POD_SANDBOX,
  validateContainerAdjustment: Event.VALIDATE_CONTAINER_ADJUSTMENT,
} as const satisfies Record<EventName, Event>;

/** All events, in the order of their numbers. */
export const eventNames = Object.keys(eventOf) as readonly EventName[];

/** The event with a name of the protocol, such as RUN_POD_SANDBOX; undefined for one that this version does not know. */
export function eventNamed(protocolName: string): EventName | undefined {
  return eventNames.find((name) => EventSchema.value[eventOf[name]].name === protocolName);
}

/** What a runtime says about itself in Configure. */
export interface RuntimeVersions {
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  /** Empty before NRI 0.12. */
  readonly nriVersion: string;
}

/**
 * Those of the events that a runtime does not know. It would refuse a subscription that has them.
 * NRI 0.10 added the last three: containerd has it since 2.2, CRI-O since 1.34.
 */
export function unsupportedBy(
  runtime: RuntimeVersions,
  events: readonly EventName[],
): readonly EventName[] {
  return knowsNewEvents(runtime)
    ? []
    : events.filter((name) => eventOf[name] > Event.REMOVE_CONTAINER);
}

/**
 * The subscription to these events, as Configure answers it. A mask of 0 would mean all events, so a plugin
 * without one gets an event that costs nothing while a container starts.
 */
export function maskOf(events: readonly EventName[]): number {
  const chosen: readonly EventName[] = events.length > 0 ? events : ["removePodSandbox"];
  return chosen.reduce((mask, name) => mask | (1 << (eventOf[name] - 1)), 0);
}

/** @throws RuntimeError `failed-precondition` when the plugin decides about containers and the runtime will not ask it. */
export function checkValidator(runtime: RuntimeVersions, unsupported: readonly EventName[]): void {
  if (!unsupported.includes("validateContainerAdjustment")) return;
  throw new RuntimeError(
    "failed-precondition",
    `subscribe to validateContainerAdjustment: ${runtime.runtimeName} ${runtime.runtimeVersion} does not know ` +
      "it and would create containers unchecked: use a runtime with NRI 0.10 or newer, or return the other " +
      "events from configure",
  );
}

function knowsNewEvents({ runtimeName, runtimeVersion, nriVersion }: RuntimeVersions): boolean {
  const since: Readonly<Record<string, readonly [number, number]>> = {
    containerd: [2, 2],
    "cri-o": [1, 34],
  };
  const nri = versionOf(nriVersion);
  if (nri !== undefined) return atLeast(nri, [0, 10]);
  const [first, version] = [since[runtimeName.toLowerCase()], versionOf(runtimeVersion)];
  return first === undefined || version === undefined || atLeast(version, first);
}

/** Undefined for "", "unknown" and "(devel)". */
function versionOf(text: string): readonly [number, number] | undefined {
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(text) ?? [];
  return major === undefined ? undefined : [Number(major), Number(minor)];
}

function atLeast(
  [major, minor]: readonly [number, number],
  [wantedMajor, wantedMinor]: readonly [number, number],
): boolean {
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
