/** Receives the progress of running a pod. */
export interface ProgressReport {
  /** A step begins: "pulling busybox". `image` is the image that is being pulled, if any. */
  readonly step: (text: string, image?: string) => void;
  /** A warning. */
  readonly warn: (text: string) => void;
  /** A message that replaces steps where these are not shown. */
  readonly note?: (text: string) => void;
}
