import assert from "node:assert/strict";
import { test } from "node:test";
import { metricDescriptors } from "./list.ts";

/**
 * What kubelet serves under /metrics/cadvisor, and dashboards and alerts refer to: the names, their types and the keys of
 * their labels beside those that every metric has. It is written out, so that no change of the code changes it unnoticed.
 * kubelet takes label values by their position: append labels, and never reorder them.
 */
const contract = `
counter container_blkio_device_usage_total device major minor operation
counter container_cpu_cfs_periods_total
counter container_cpu_cfs_throttled_periods_total
counter container_cpu_cfs_throttled_seconds_total
counter container_cpu_system_seconds_total
counter container_cpu_usage_seconds_total cpu
counter container_cpu_user_seconds_total
gauge container_file_descriptors
gauge container_fs_inodes_free device
gauge container_fs_inodes_total device
gauge container_fs_limit_bytes device
counter container_fs_reads_bytes_total device
counter container_fs_reads_total device
gauge container_fs_usage_bytes device
counter container_fs_writes_bytes_total device
counter container_fs_writes_total device
gauge container_hugetlb_max_usage_bytes pagesize
gauge container_hugetlb_usage_bytes pagesize
gauge container_last_seen
gauge container_memory_cache
counter container_memory_failcnt
counter container_memory_failures_total failure_type scope
gauge container_memory_kernel_usage
gauge container_memory_mapped_file
gauge container_memory_max_usage_bytes
gauge container_memory_rss
gauge container_memory_swap
gauge container_memory_usage_bytes
gauge container_memory_working_set_bytes
counter container_network_receive_bytes_total interface
counter container_network_receive_errors_total interface
counter container_network_receive_packets_dropped_total interface
counter container_network_receive_packets_total interface
counter container_network_transmit_bytes_total interface
counter container_network_transmit_errors_total interface
counter container_network_transmit_packets_dropped_total interface
counter container_network_transmit_packets_total interface
counter container_oom_events_total
counter container_pressure_cpu_stalled_seconds_total
counter container_pressure_cpu_waiting_seconds_total
counter container_pressure_io_stalled_seconds_total
counter container_pressure_io_waiting_seconds_total
counter container_pressure_memory_stalled_seconds_total
counter container_pressure_memory_waiting_seconds_total
gauge container_processes
gauge container_sockets
gauge container_spec_cpu_period
gauge container_spec_cpu_quota
gauge container_spec_cpu_shares
gauge container_spec_memory_limit_bytes
gauge container_spec_memory_reservation_limit_bytes
gauge container_spec_memory_swap_limit_bytes
gauge container_start_time_seconds
gauge container_threads
gauge container_threads_max
gauge container_ulimits_soft ulimit
`;

/** In this order, before the metric's own. */
const ofEveryMetric = ["container", "id", "image", "name", "namespace", "pod"];

test("metricDescriptors are the 56 metrics of the contract, with their types and label keys", () => {
  const want = contract.trim().split("\n");
  assert.equal(want.length, 56);
  const have = metricDescriptors.map(({ type, name, labelKeys }) => {
    assert.deepEqual(labelKeys.slice(0, ofEveryMetric.length), ofEveryMetric, name);
    return [type, name, ...labelKeys.slice(ofEveryMetric.length)].join(" ");
  });
  assert.deepEqual(have, want);
});
