import type { PodSandbox } from "../../../gen/runtime/v1/api_pb.ts";
import { type PodContainer, podName } from "../../objects/find.ts";
import type { FindSubject, Named } from "./activity.ts";
import { parseSubject } from "./operations.ts";

/** Finds the pod or container that the subject of an operation names: by its id, or by its name and uid. */
export function subjectFinder(
  pods: readonly PodSandbox[],
  containers: readonly PodContainer[],
): FindSubject {
  const byId = new Map<string, Named>();
  const byName = new Map<string, Named>();
  for (const pod of pods) {
    const named = namedPod(pod);
    byId.set(pod.id, named);
    // A pod whose sandbox was made again has several; its newest is the one that operations are about.
    byName.set(`${named.namespace}/${named.pod}/${pod.metadata?.uid ?? ""}`, named);
  }
  for (const { container, pod } of containers) {
    if (pod === undefined) continue;
    byId.set(container.id, { ...namedPod(pod), container: container.metadata?.name ?? "" });
  }
  return (subject) => {
    const known = byId.get(subject);
    if (known !== undefined) return known;
    const names = parseSubject(subject);
    if (names === undefined) return undefined;
    const { namespace, pod, container, uid } = names;
    const found = byName.get(`${namespace}/${pod}/${uid}`);
    return { podId: found?.podId ?? "", namespace, pod, container };
  };
}

function namedPod(pod: PodSandbox): Named {
  return {
    podId: pod.id,
    namespace: pod.metadata?.namespace ?? "",
    pod: podName(pod),
    container: "",
  };
}
