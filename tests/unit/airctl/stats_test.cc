// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/stats.h"

#include <gtest/gtest.h>

#include <sstream>

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

void Count(wire::MountInfo* mount, const char* name, uint64_t value) {
  (*mount->mutable_counters())[name] = value;
}

void Observe(wire::MountInfo* mount, const char* name, int bucket, uint64_t count) {
  wire::Latencies& latencies = (*mount->mutable_latencies())[name];
  while (latencies.counts_size() < 48) latencies.add_counts(0);
  latencies.set_counts(bucket, count);
}

wire::StatusResponse Earlier() {
  wire::StatusResponse status;
  wire::MountInfo* mount = status.add_mounts();
  mount->set_mountpoint("/mnt");
  mount->set_workspace("w");
  mount->set_gateway("g:1");
  Count(mount, "requests", 1000);
  Count(mount, "lookup_hits", 100);
  Observe(mount, "read", 10, 1000);
  wire::SessionInfo* session = status.add_sessions();
  session->set_workspace("w");
  session->set_gateway("g:1");
  session->set_state("connected");
  session->set_fetched_bytes(5000);
  session->set_dirty_bytes(7);
  return status;
}

wire::StatusResponse Later() {
  wire::StatusResponse status = Earlier();
  wire::MountInfo* mount = status.mutable_mounts(0);
  Count(mount, "requests", 3000);
  Count(mount, "lookup_hits", 190);
  Count(mount, "lookup_misses", 10);
  Count(mount, "read_slab", 3);
  Count(mount, "read_broker", 1);
  Observe(mount, "read", 20, 98);
  Observe(mount, "read", 25, 2);
  status.mutable_sessions(0)->set_fetched_bytes(9000);
  return status;
}

TEST(Stats, OfAnIntervalAreWhatHappenedInIt) {
  const wire::StatusResponse before = Earlier();
  const wire::StatsReport report = MakeReport(Later(), &before, 2000);
  EXPECT_EQ(report.interval_ms(), 2000u);
  const wire::MountStats& mount = report.mounts(0);
  EXPECT_EQ(mount.requests(), 2000u);
  EXPECT_EQ(mount.names().memory(), 90u);
  EXPECT_EQ(mount.names().broker(), 10u);
  EXPECT_EQ(HitPercent(mount.names()), 90);
  EXPECT_EQ(HitPercent(mount.reads()), 75);
  EXPECT_EQ(HitPercent(mount.opens()), -1) << "nothing was opened";
  EXPECT_EQ(mount.operations().at("read").count(), 100u);
  EXPECT_EQ(mount.operations().at("read").p50_ns(), 2u << 20);
  EXPECT_EQ(mount.operations().at("read").p99_ns(), 2u << 25);
  EXPECT_EQ(mount.all().count(), 100u);
  EXPECT_EQ(mount.unsent_bytes(), 7u);
  EXPECT_EQ(report.sessions(0).received_bytes(), 4000u);
}

TEST(Stats, WithoutAnIntervalAreSinceTheMountWasMade) {
  const wire::StatsReport report = MakeReport(Later(), nullptr, 0);
  EXPECT_EQ(report.interval_ms(), 0u);
  EXPECT_EQ(report.mounts(0).requests(), 3000u);
  EXPECT_EQ(report.mounts(0).all().count(), 1100u);
}

TEST(Stats, WhatBeganAnewCountsFromZero) {
  const wire::StatusResponse before = Later();
  const wire::StatsReport report = MakeReport(Earlier(), &before, 1000);
  EXPECT_EQ(report.mounts(0).requests(), 1000u);
  EXPECT_EQ(report.mounts(0).all().count(), 1000u);
  EXPECT_EQ(report.sessions(0).received_bytes(), 5000u);
}

TEST(Stats, ArePrintedAsRates) {
  const wire::StatusResponse before = Earlier();
  std::ostringstream text;
  PrintReport(text, MakeReport(Later(), &before, 2000), false);
  EXPECT_NE(text.str().find("REQUESTS/S"), std::string::npos) << text.str();
  EXPECT_NE(text.str().find("1000 "), std::string::npos) << text.str();
  EXPECT_NE(text.str().find("90%"), std::string::npos) << text.str();
  EXPECT_NE(text.str().find("2.0 KiB"), std::string::npos) << text.str();
  std::ostringstream none;
  PrintReport(none, wire::StatsReport(), false);
  EXPECT_EQ(none.str(), "no mounts\n");
}

}  // namespace
}  // namespace airstore::airctl
