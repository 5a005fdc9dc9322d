/** The host itself: kernel and boot id, devices, free disk space, the service manager. */
export { describeFullDisk, DiskHeadroom, type DiskSpace } from "./disk-headroom.ts";
export { hostBootId, isRunBySystemd, kernelRelease, systemdDirectory } from "./host.ts";
export { type DeviceNode, listDevices, notifyService } from "./native.ts";
