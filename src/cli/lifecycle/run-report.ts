/** What running a pod tells whoever waits for it. */
export interface RunReport {
  /** Something begins: "pull busybox". `image` is what is being pulled, if that is it. */
  readonly step: (text: string, image?: string) => void;
  /** Something that a person should know although it is no failure. */
  readonly warn: (text: string) => void;
  /** What a step says, once, for where steps are not shown. */
  readonly note?: (text: string) => void;
}
