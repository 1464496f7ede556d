// SPDX-License-Identifier: Apache-2.0
//
// Tools, sources and tasks over NFS: as in other mounts, without a word about them in the frontend.
#include <filesystem>

#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

class VirtualOverNfs : public e2e::HostTest {
 protected:
  e2e::HostOptions Options() const override {
    e2e::HostOptions options;
    options.gateway_program = "services-gateway";
    return options;
  }
  std::string Service(const std::string& name) { return host().Path("gateway/services/" + name); }
};

TEST_F(VirtualOverNfs, IsReadAndNotChanged) {
  std::filesystem::create_directories(Service("sources/mail/all"));
  const std::string large = e2e::RandomBytes(3, 300'000);
  e2e::WriteFile(Service("sources/mail/all/1.txt"), "one\n");
  e2e::WriteFile(Service("sources/mail/all/large"), large);
  std::filesystem::create_directories(Service("sources/mail/untold"));
  e2e::WriteFile(Service("sources/mail/untold/2.txt"), "two\n");
  e2e::WriteFile(Service("sources/mail/untold/.unknown"), "");
  e2e::WriteFile(Service("tasks/enabled"), "");
  e2e::WriteFile(Service("tasks/t"), "complete 0\ndone\n");
  host().CreateWorkspace("work");
  const auto served = host().AirctlJson(
      {"mount", host().Path("nfs"), "--backend", "nfs", "--serve-only", "--gateway",
       host().gateway_address(), "--token-file", host().Path("work.token")})["mount"]["nfs"];
  Client client(served["port"].get<uint16_t>());
  const Handle root = client.Mount(served["path"].get<std::string>());
  Handle sources;
  Handle mail;
  Handle all;
  Handle file;
  ASSERT_EQ(client.Lookup(root, "Sources", &sources), NFS3_OK);
  ASSERT_EQ(client.Lookup(sources, "mail", &mail), NFS3_OK);
  ASSERT_EQ(client.Lookup(mail, "all", &all), NFS3_OK);
  ASSERT_EQ(client.Lookup(all, "large", &file), NFS3_OK);
  fattr3 attributes{};
  ASSERT_EQ(client.Getattr(file, &attributes), NFS3_OK);
  EXPECT_EQ(attributes.size, large.size());
  std::string read;
  ASSERT_EQ(client.Read(file, 200'000, 50'000, &read), NFS3_OK);
  EXPECT_TRUE(read == large.substr(200'000, 50'000));
  ASSERT_EQ(client.Lookup(all, "1.txt", &file), NFS3_OK);
  ASSERT_EQ(client.Read(file, 0, 100, &read), NFS3_OK);
  EXPECT_EQ(read, "one\n");
  // Nobody told how long these are; a client of NFS reads no further than it was told.
  Handle untold;
  ASSERT_EQ(client.Lookup(mail, "untold", &untold), NFS3_OK);
  ASSERT_EQ(client.Lookup(untold, "2.txt", &file), NFS3_OK);
  ASSERT_EQ(client.Getattr(file, &attributes), NFS3_OK);
  EXPECT_EQ(attributes.size, 4u);
  ASSERT_EQ(client.Read(file, 0, 100, &read), NFS3_OK);
  EXPECT_EQ(read, "two\n");
  ASSERT_EQ(client.Lookup(all, "1.txt", &file), NFS3_OK);
  EXPECT_EQ(client.Remove(all, "1.txt"), NFS3ERR_ROFS);
  EXPECT_EQ(client.Write(file, 0, "x", FILE_SYNC), NFS3ERR_ROFS);
  Handle made;
  EXPECT_EQ(client.Make(sources, "x", 0644, &made), NFS3ERR_PERM);
  Handle tasks;
  ASSERT_EQ(client.Lookup(root, "Tasks", &tasks), NFS3_OK);
  ASSERT_EQ(client.Lookup(tasks, "t.task", &file), NFS3_OK);
  ASSERT_EQ(client.Read(file, 0, 1000, &read), NFS3_OK);
  EXPECT_NE(read.find("--- Output ---\ndone\n"), std::string::npos) << read;
}

}  // namespace
}  // namespace airstore::nfs_test
