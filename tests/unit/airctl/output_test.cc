// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tools/airctl/failure.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/status_text.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

TEST(Printable, LeavesNothingThatTerminalsActUpon) {
  EXPECT_EQ(Printable("a\x1b[31mb\n"), "a?[31mb?");
  EXPECT_EQ(Printable("Größe 日本"), "Größe 日本");
  EXPECT_EQ(Printable("\xc2\x9b"
                      "31m"),
            "?31m")
      << "a control beyond ASCII";
  EXPECT_EQ(Printable("\xe2\x80\xae"
                      "gpj.exe"),
            "?gpj.exe")
      << "from right to left";
  EXPECT_EQ(Printable("\x9b\xff"
                      "a"),
            "??a")
      << "no text";
}

TEST(Format, BytesAreReadable) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1024), "1.0 KiB");
  EXPECT_EQ(HumanBytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(HumanBytes(3ull << 30), "3.0 GiB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "16.0 EiB");
}

TEST(Format, TimesAreReadable) {
  EXPECT_EQ(HumanDuration(999), "999 ms");
  EXPECT_EQ(HumanDuration(61'000), "1 m 1 s");
  EXPECT_EQ(HumanDuration(7'200'000), "2 h");
  EXPECT_EQ(HumanDuration(90'000'000), "1 d 1 h");
  EXPECT_EQ(HumanLatency(999), "999 ns");
  EXPECT_EQ(HumanLatency(8300), "8.3 us");
  EXPECT_EQ(HumanLatency(1'200'000), "1.2 ms");
  EXPECT_EQ(HumanTime(0), "-");
  EXPECT_EQ(UtcTime(1'769'860'805'999), "2026-01-31T12:00:05Z");
}

TEST(Table, AlignsColumns) {
  Table table({"NAME", "SIZE>", "LAST"});
  table.Add({"a", "1", "x"});
  table.Add({"b\xc3\xa4r", "1000", ""});
  std::ostringstream out;
  table.Print(out, false);
  EXPECT_EQ(out.str(),
            "NAME  SIZE  LAST\n"
            "a        1  x\n"
            "b\xc3\xa4r   1000  -\n");
}

TEST(Table, PaintsOnlyWhenWanted) {
  Table table({"S"});
  table.Add({Cell("ok", Colour::kGood)});
  std::ostringstream plain, painted;
  table.Print(plain, false);
  table.Print(painted, true);
  EXPECT_EQ(plain.str().find('\033'), std::string::npos);
  EXPECT_NE(painted.str().find("\033[32mok\033[0m"), std::string::npos);
}

TEST(Table, NothingReachesTheTerminalByAName) {
  Table table({"S"});
  table.Add({"\033[2Jx\n"});
  std::ostringstream out;
  table.Print(out, false);
  EXPECT_EQ(out.str(), "S\n?[2Jx?\n");
}

TEST(Failure, ExitCodesAreTheProtocols) {
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_INTERNAL), 1);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_USAGE), 2);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_NOT_FOUND), 3);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_BUSY), 4);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_PERMISSION), 5);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_UNREACHABLE), 6);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_HOST), 7);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_DIRTY), 8);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_EXISTS), 9);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_FUSE_UNAVAILABLE), 10);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_NFS_UNAVAILABLE), 11);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_NO_BACKEND), 12);
  EXPECT_EQ(ExitCode(wire::FAILURE_KIND_NFS_FALLBACK_FAILED), 13);
  EXPECT_EQ(ExitCode(static_cast<wire::FailureKind>(99)), 1) << "a newer broker's";
}

TEST(Failure, PrintsForPeopleAndPrograms) {
  const Failure failure{wire::FAILURE_KIND_NOT_FOUND, "no \"x\"", "make it"};
  std::ostringstream text, json;
  PrintFailure(text, failure, false);
  PrintFailure(json, failure, true);
  EXPECT_EQ(text.str(), "airctl: no \"x\": make it\n");
  const auto parsed = nlohmann::json::parse(json.str());
  EXPECT_EQ(parsed["error"]["kind"], "not_found");
  EXPECT_EQ(parsed["error"]["message"], "no \"x\"");
  EXPECT_EQ(parsed["error"]["advice"], "make it");
}

TEST(JsonOutput, NumbersStayNumbersAndNothingIsLeftOut) {
  wire::StatusResponse status;
  status.mutable_broker()->set_uptime_ms(UINT64_MAX);
  wire::MountInfo* mount = status.add_mounts();
  mount->set_mountpoint("/a\xff");
  (*mount->mutable_counters())["reads"] = 5;
  const auto parsed = nlohmann::json::parse(ToJson(status));
  EXPECT_EQ(parsed["broker"]["uptime_ms"], UINT64_MAX);
  EXPECT_EQ(parsed["broker"]["passthrough"], false);
  EXPECT_TRUE(parsed["sessions"].is_array());
  EXPECT_EQ(parsed["mounts"][0]["counters"]["reads"], 5);
  EXPECT_EQ(parsed["mounts"][0]["dirty_bytes"], 0);
}

TEST(StatusText, ShowsMountsSessionsAndDetails) {
  wire::StatusResponse status;
  wire::MountInfo* mount = status.add_mounts();
  mount->set_mountpoint("/mnt/demo");
  mount->set_workspace("demo");
  mount->set_state("ready");
  mount->set_backend("fuse");
  mount->set_passthrough(true);
  (*mount->mutable_counters())["reads"] = 5;
  (*mount->mutable_latency_p50_ns())["lookup"] = 8300;
  wire::SessionInfo* session = status.add_sessions();
  session->set_workspace("demo");
  session->set_last_error("disk on fire");
  std::ostringstream all, one;
  PrintStatus(all, status, false, false);
  PrintStatus(one, status, true, false);
  EXPECT_NE(all.str().find("/mnt/demo"), std::string::npos);
  EXPECT_NE(all.str().find("fuse, passthrough"), std::string::npos);
  EXPECT_NE(all.str().find("disk on fire"), std::string::npos);
  EXPECT_EQ(all.str().find("8.3 us"), std::string::npos);
  EXPECT_NE(one.str().find("8.3 us"), std::string::npos);
  std::ostringstream none;
  PrintStatus(none, wire::StatusResponse(), false, false);
  EXPECT_NE(none.str().find("no mounts"), std::string::npos);
}

TEST(StatusText, TellsHowToMountAnExport) {
  wire::StatusResponse status;
  wire::MountInfo* mount = status.add_mounts();
  mount->set_mountpoint("/mnt/demo");
  mount->set_backend("nfs");
  mount->mutable_nfs()->set_host("127.0.0.1");
  mount->mutable_nfs()->set_port(4711);
  mount->mutable_nfs()->set_path("/secret");
  mount->mutable_nfs()->set_mount_command("mount it so");
  std::ostringstream all, made;
  PrintStatus(all, status, false, false);
  PrintMounted(made, *mount, false);
  for (const char* text : {"4711", "/secret", "mount it so"}) {
    EXPECT_NE(all.str().find(text), std::string::npos) << text;
    EXPECT_NE(made.str().find(text), std::string::npos) << text;
  }
  EXPECT_EQ(made.str().find("mounted"), std::string::npos);
}

}  // namespace
}  // namespace airstore::airctl
