/** The annotation of a pod with the maximum size of the writable layer of each of its containers (core/sandbox). */
export const layerLimitAnnotation = "davit.writable-layer-limit";

/** The annotation of a pod with the name of its container after whose end the server removes it (core/sandbox). */
export const removeAfterAnnotation = "davit.remove-after";

/** The annotation of a pod with the maximum number of processes and threads of each of its containers (core/sandbox). */
export const pidsLimitAnnotation = "davit.pids-limit";
