import { useEffect, useState } from "preact/hooks";
import { request } from "./session.ts";
import type { PodDetail, PodView } from "./view.ts";

/** The verbose status of a pod; loaded again when the pod or a container has changed. */
export function usePodDetail(pod: PodView): {
  readonly detail?: PodDetail;
  readonly error: string;
} {
  const [detail, setDetail] = useState<PodDetail>();
  const [error, setError] = useState("");
  const version = [pod.id, pod.ready, ...pod.containers.map(({ id, state }) => id + state)].join();
  useEffect(() => {
    let isCurrent = true;
    request<PodDetail>(`/api/pod?id=${encodeURIComponent(pod.id)}`).then(
      (value) => {
        if (!isCurrent) return;
        setDetail(value);
        setError("");
      },
      (cause: unknown) => {
        if (isCurrent) setError(cause instanceof Error ? cause.message : String(cause));
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [version]);
  return { ...(detail === undefined ? {} : { detail }), error };
}
