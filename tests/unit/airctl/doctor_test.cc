// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/doctor.h"

#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/unit/broker/temp_dir.h"

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

TEST_F(DoctorTest, TellsPeopleAndPrograms) {
  const Diagnosis found = Look();
  std::ostringstream text;
  PrintDiagnosis(text, found, false);
  EXPECT_NE(text.str().find("with FUSE: no; over NFS: no"), std::string::npos);
  const auto parsed = nlohmann::json::parse(ToJson(found));
  EXPECT_EQ(parsed["fuse"], false);
  EXPECT_EQ(parsed["findings"].size(), found.findings.size());
  EXPECT_EQ(parsed["findings"][0]["mend"], found.findings[0].mend);
}

}  // namespace
}  // namespace airstore::airctl
