import type { DescMessage, DescMethodUnary } from "@bufbuild/protobuf";
import { Event, Plugin } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";

/** An event of NRI: a method of plugins that they subscribe to. */
export interface PluginEvent<
  I extends DescMessage = DescMessage,
  O extends DescMessage = DescMessage,
> {
  readonly method: DescMethodUnary<I, O>;
  readonly number: Event;
  /** Plugins older than NRI 0.12 know the event as a StateChange only. */
  readonly isStateChange: boolean;
  /**
   * An error of a plugin rejects the verb. Where it is false the verb has happened already or must not
   * fail, so the error is only logged, as by containerd.
   */
  readonly canReject: boolean;
}

/** The bit of an event in the mask that a plugin subscribes to. */
export function bitOf({ number }: Pick<PluginEvent, "number">): number {
  return 1 << (number - 1);
}

/** The mask of all events. A plugin that subscribes to nothing gets all (pkg/adaptation of NRI). */
export const allEvents = bitOf({ number: Event.LAST }) - 1;

const deciding = { isStateChange: false, canReject: true };
const telling = { isStateChange: true, canReject: true };
const told = { isStateChange: true, canReject: false };
const { method } = Plugin;

/** The events. Which of them can reject is decided by `canReject`, for all drivers of containers alike. */
export const events = {
  runPodSandbox: { method: method.runPodSandbox, number: Event.RUN_POD_SANDBOX, ...telling },
  updatePodSandbox: {
    method: method.updatePodSandbox,
    number: Event.UPDATE_POD_SANDBOX,
    ...deciding,
  },
  postUpdatePodSandbox: {
    method: method.postUpdatePodSandbox,
    number: Event.POST_UPDATE_POD_SANDBOX,
    ...told,
  },
  stopPodSandbox: { method: method.stopPodSandbox, number: Event.STOP_POD_SANDBOX, ...told },
  removePodSandbox: { method: method.removePodSandbox, number: Event.REMOVE_POD_SANDBOX, ...told },
  createContainer: { method: method.createContainer, number: Event.CREATE_CONTAINER, ...deciding },
  postCreateContainer: {
    method: method.postCreateContainer,
    number: Event.POST_CREATE_CONTAINER,
    ...told,
  },
  startContainer: { method: method.startContainer, number: Event.START_CONTAINER, ...telling },
  postStartContainer: {
    method: method.postStartContainer,
    number: Event.POST_START_CONTAINER,
    ...told,
  },
  updateContainer: { method: method.updateContainer, number: Event.UPDATE_CONTAINER, ...deciding },
  postUpdateContainer: {
    method: method.postUpdateContainer,
    number: Event.POST_UPDATE_CONTAINER,
    ...told,
  },
  stopContainer: {
    method: method.stopContainer,
    number: Event.STOP_CONTAINER,
    isStateChange: false,
    canReject: false,
  },
  removeContainer: { method: method.removeContainer, number: Event.REMOVE_CONTAINER, ...told },
  validate: {
    method: method.validateContainerAdjustment,
    number: Event.VALIDATE_CONTAINER_ADJUSTMENT,
    ...deciding,
  },
} as const;
