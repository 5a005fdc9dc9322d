/** The host itself: kernel and boot id, devices, free disk space, the service manager. */
export { describeFullDisk, DiskRoom, type DiskSpace } from "./disk-room.ts";
export { hostBootId, isRunBySystemd, kernelRelease, systemdDirectory } from "./host.ts";
export { type DeviceNode, listDevices, notifyService } from "./native.ts";
