// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/doctor.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "shm/base/fd.h"
#include "tests/unit/broker/temp_dir.h"
#include "tools/airctl/doctor_broker.h"
#include "tools/airctl/doctor_host.h"
#include "tools/airctl/json_output.h"

namespace airstore::airctl {
namespace {

class DoctorTest : public testing::Test {
 protected:
  Diagnosis Look(bool root = true) {
    return Diagnose({temp_ / "fuse", temp_ / "filesystems", temp_ / "modules", temp_ / "helper"},
                    root);
  }
  const TempDir temp_;
};

TEST_F(DoctorTest, FindsNothingWhereNothingIs) {
  const Diagnosis found = Look();
  EXPECT_FALSE(found.fuse);
  EXPECT_FALSE(found.nfs);
  // Each that keeps a backend from working says what to do.
  for (const Finding& finding : found.findings) EXPECT_TRUE(finding.good || finding.mend != "");
  EXPECT_NE(found.findings[0].mend.find("modprobe fuse"), std::string::npos);
  EXPECT_NE(found.findings[2].mend.find("--serve-only"), std::string::npos);
}

TEST_F(DoctorTest, FindsWhatIsThere) {
  temp_.Write("fuse", "");
  EXPECT_TRUE(Look().fuse);
  EXPECT_FALSE(Look().nfs);
  temp_.Write("filesystems", "nodev\tproc\n\text4\nnodev\tnfs4\n");
  EXPECT_FALSE(Look().nfs);
  temp_.Write("filesystems", "nodev\tproc\nnodev\tnfs\n");
  EXPECT_TRUE(Look().nfs);
  EXPECT_FALSE(Look(false).nfs) << "for root only";
}

TEST_F(DoctorTest, KnowsAModuleThatIsNotLoaded) {
  utsname name{};
  ASSERT_EQ(uname(&name), 0);
  std::filesystem::create_directories(temp_ / ("modules/" + std::string(name.release)));
  temp_.Write(std::string("modules/") + name.release + "/modules.dep",
              "kernel/fs/nfs/nfsv3.ko: kernel/fs/nfs/nfs.ko\n");
  const Diagnosis found = Look();
  EXPECT_FALSE(found.nfs);
  EXPECT_EQ(found.findings[2].mend, "modprobe nfsv3");
}

TEST_F(DoctorTest, OneWayToMountIsEnough) {
  EXPECT_TRUE(IsWrong(Look()));
  temp_.Write("fuse", "");
  EXPECT_FALSE(IsWrong(Look())) << "there is no NFS client, but who needs one";
}

TEST_F(DoctorTest, LooksAtTheConfiguration) {
  const auto of = [this](const std::string& program) {
    for (const Finding& finding :
         LookAtHost({.configuration = temp_ / "toml", .broker_program = program})) {
      if (finding.what == "configuration") return finding;
    }
    return Finding{};
  };
  EXPECT_EQ(of("/bin/true").what, "") << "there is none";
  temp_.Write("toml", "");
  EXPECT_TRUE(of("/bin/true").good);
  const Finding wrong = of("/bin/ls");  // it knows no --check-config
  EXPECT_FALSE(wrong.good);
  EXPECT_NE(wrong.says.find("--config"), std::string::npos) << wrong.says;
}

TEST_F(DoctorTest, KnowsWhichConfigurationHolds) {
  std::string named;
  const GetEnv getenv = [&](const char* name) -> const char* {
    return std::string(name) == "AIRSTORE_CONFIG"   ? named.c_str()
           : std::string(name) == "XDG_CONFIG_HOME" ? temp_.path().c_str()
                                                    : nullptr;
  };
  EXPECT_EQ(ConfigurationFile(getenv), kHostConfiguration);
  std::filesystem::create_directory(temp_ / "airstore");
  const std::string own = temp_.Write("airstore/airstored.toml", "");
  EXPECT_EQ(ConfigurationFile(getenv), geteuid() == 0 ? kHostConfiguration : own);
  named = "/named";
  EXPECT_EQ(ConfigurationFile(getenv), "/named");
}

TEST_F(DoctorTest, FindsTokensThatOthersMayRead) {
  std::filesystem::create_directory(temp_ / "tokens");
  temp_.Write("tokens/a", "secret");
  chmod((temp_ / "tokens/a").c_str(), 0644);
  const auto of = [this] {
    for (const Finding& finding : LookAtHost({.tokens = temp_ / "tokens"})) {
      if (finding.what == "tokens") return finding;
    }
    return Finding{};
  };
  EXPECT_FALSE(of().good);
  EXPECT_EQ(of().mend, "chmod 600 " + (temp_ / "tokens/a"));
  EXPECT_EQ(of().says.find("secret"), std::string::npos);
  ASSERT_EQ(system(of().mend.c_str()), 0);
  EXPECT_TRUE(of().good);
}

TEST_F(DoctorTest, FindsAKernelThatLacksSomething) {
  EXPECT_TRUE(LookAtHost({})[0].good);
  EXPECT_FALSE(LookAtHost({.sandbox = temp_ / "none"})[0].good);
}

TEST_F(DoctorTest, LooksAtTheStateDirectory) {
  const std::string state = temp_ / "state";
  EXPECT_FALSE(LookAtStateDirectory(state)[0].good) << "it is not there";
  std::filesystem::create_directories(state + "/spool");
  chmod((state + "/spool").c_str(), 0755);
  const Finding open = LookAtStateDirectory(state)[0];
  EXPECT_FALSE(open.good);
  ASSERT_EQ(system(open.mend.c_str()), 0);
  EXPECT_TRUE(LookAtStateDirectory(state)[0].good);
}

TEST_F(DoctorTest, LooksWhetherAGatewayListens) {
  const UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, (temp_ / "g").c_str());
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_FALSE(LookAtGateway("unix:" + (temp_ / "g")).good);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  EXPECT_TRUE(LookAtGateway("unix:" + (temp_ / "g")).good);
  for (const char* nowhere : {"unix:/none", "127.0.0.1:1", "[::1]:1", "http://127.0.0.1:1"}) {
    const Finding finding = LookAtGateway(nowhere);
    EXPECT_FALSE(finding.good) << nowhere;
    EXPECT_FALSE(finding.mend.empty());
  }
}

TEST_F(DoctorTest, TellsWhatTheBrokerTells) {
  control::v1::StatusResponse status;
  status.mutable_broker()->set_version(AIRSTORE_VERSION);
  status.mutable_broker()->set_state_dir(temp_ / "none");
  auto* session = status.add_sessions();
  session->set_gateway("g:1");
  session->set_state("unreachable");
  auto* problem = status.add_problems();
  problem->set_cause("gateway_unreachable");
  problem->set_subject("g:1");
  problem->set_says("no answer");
  problem->set_mend("start it");
  for (const Finding& finding : LookAtBroker(status)) {
    if (finding.what != "gateway_unreachable") continue;
    EXPECT_FALSE(finding.good);
    EXPECT_TRUE(finding.matters);
    EXPECT_EQ(finding.says, "g:1: no answer");
    EXPECT_EQ(finding.mend, "start it");
    return;
  }
  FAIL() << "not told";
}

TEST_F(DoctorTest, TellsPeopleAndPrograms) {
  const Diagnosis found = Look();
  std::ostringstream text;
  PrintDiagnosis(text, found, false);
  EXPECT_NE(text.str().find("with FUSE: no; over NFS: no"), std::string::npos);
  const auto parsed = nlohmann::json::parse(ToJson(ReportOf(found)));
  EXPECT_EQ(parsed["fuse"], false);
  EXPECT_EQ(parsed["findings"].size(), found.findings.size());
  EXPECT_EQ(parsed["findings"][0]["mend"], found.findings[0].mend);
}

}  // namespace
}  // namespace airstore::airctl
