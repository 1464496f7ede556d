// SPDX-License-Identifier: Apache-2.0
#include "broker/problems.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace airstore::broker {
namespace {

SessionStatus SessionIn(const std::string& state, const std::string& error = "") {
  SessionStatus session;
  session.workspace = "work";
  session.gateway = "host:1";
  session.state = state;
  session.gateway_error = error;
  return session;
}

// The only one.
Problem Of(const BrokerStatus& status) {
  const auto found = ProblemsOf(status);
  EXPECT_EQ(found.size(), 1u);
  if (found.empty()) return {};
  EXPECT_FALSE(found[0].says.empty());
  EXPECT_FALSE(found[0].mend.empty());
  return found[0];
}

TEST(Problems, ThereAreNoneWhereAllIsWell) {
  BrokerStatus status;
  status.sessions = {SessionIn("connected")};
  status.mounts.resize(1);
  status.mounts[0].state = "ready";
  status.mounts[0].frontend_restarts = 3;
  status.mounts[0].frontend_up_ms = 3'600'000;
  EXPECT_TRUE(ProblemsOf(status).empty());
}

TEST(Problems, AGatewayIsNamedOnceWithItsReason) {
  BrokerStatus status;
  status.sessions = {SessionIn("unreachable", "connection refused"),
                     SessionIn("unreachable", "connection refused")};
  const Problem found = Of(status);
  EXPECT_EQ(found.cause, Cause::kGatewayUnreachable);
  EXPECT_EQ(found.subject, "host:1");
  EXPECT_NE(found.says.find("connection refused"), std::string::npos);
}

TEST(Problems, CertificatesAreToldFromConnections) {
  for (const char* error : {"Ssl handshake failed: SSL_ERROR_SSL", "CERTIFICATE_VERIFY_FAILED",
                            "Peer name gateway is not in peer certificate"}) {
    BrokerStatus status;
    status.sessions = {SessionIn("unreachable", error)};
    EXPECT_EQ(Of(status).cause, Cause::kGatewayCertificate) << error;
  }
}

TEST(Problems, SessionsThatAreRefusedOrGone) {
  BrokerStatus status;
  status.sessions = {SessionIn("refused")};
  EXPECT_EQ(Of(status).cause, Cause::kGatewayToken);
  status.sessions = {SessionIn("gone")};
  EXPECT_EQ(Of(status).cause, Cause::kWorkspaceGone);
}

TEST(Problems, AFrontendThatEndsAgainAndAgain) {
  BrokerStatus status;
  MountStatus& mount = status.mounts.emplace_back();
  mount.mountpoint = "/mnt";
  mount.state = "ready";
  mount.frontend_restarts = 2;
  mount.frontend_up_ms = 100;
  mount.last_end = "killed by signal 11";
  Problem found = Of(status);
  EXPECT_EQ(found.cause, Cause::kFrontendFailing);
  EXPECT_EQ(found.subject, "/mnt");
  EXPECT_NE(found.says.find("signal 11; replaced 2 times"), std::string::npos) << found.says;
  mount.state = "dead";
  mount.problem = "it cannot be replaced";
  found = Of(status);
  EXPECT_NE(found.says.find("cannot be replaced"), std::string::npos);
  EXPECT_NE(found.mend.find("airctl unmount --force /mnt"), std::string::npos);
}

TEST(Problems, OfTheBrokerItself) {
  BrokerStatus status;
  status.spool_full = true;
  EXPECT_EQ(Of(status).cause, Cause::kSpoolFull);
  status = {};
  status.torn_journals = 1;
  EXPECT_EQ(Of(status).cause, Cause::kJournalTorn);
  status.uptime_ms = 3'600'000;
  EXPECT_TRUE(ProblemsOf(status).empty());
  status = {};
  status.clock_sets = 1;
  status.clock_jump_ms = -3'600'000;
  const Problem clock = Of(status);
  EXPECT_EQ(clock.cause, Cause::kClockSet);
  EXPECT_NE(clock.says.find("-3600.0 s"), std::string::npos) << clock.says;
  status.clock_set_ago_ms = 3'600'000;
  EXPECT_TRUE(ProblemsOf(status).empty());
  status = {};
  status.lost_items = 2;
  EXPECT_EQ(Of(status).cause, Cause::kChangesRefused);
}

// Who reads one of them finds what it means.
TEST(Problems, EachCauseIsExplained) {
  for (const char* name : {"/man/airctl.1", "/docs/operations.md"}) {
    std::ifstream file(std::string(AIRSTORE_PACKAGING_DIR) + name);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    for (const Cause cause : AllCauses()) {
      EXPECT_NE(text.find(CauseName(cause)), std::string::npos) << CauseName(cause) << name;
    }
  }
}

TEST(Problems, EachCauseHasAName) {
  std::set<std::string> names;
  for (const Cause cause : AllCauses()) names.insert(CauseName(cause));
  EXPECT_EQ(names.size(), AllCauses().size());
}

}  // namespace
}  // namespace airstore::broker
