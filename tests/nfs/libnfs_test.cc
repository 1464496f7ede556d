// SPDX-License-Identifier: Apache-2.0
//
// libnfs: a client that others have written.
#include <fcntl.h>
#include <nfsc/libnfs.h>
#include <sys/stat.h>

#include <set>

#include "tests/e2e/support/host_test.h"

namespace airstore::nfs_test {
namespace {

class Libnfs : public e2e::HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    const auto served = host().AirctlJson(
        {"mount", host().Path("nfs"), "--backend", "nfs", "--serve-only", "--gateway",
         host().gateway_address(), "--token-file", host().Path("work.token")})["mount"]["nfs"];
    client_ = nfs_init_context();
    const std::string port = std::to_string(served["port"].get<int>());
    const std::string address = "nfs://127.0.0.1" + served["path"].get<std::string>() +
                                "/?version=3&nfsport=" + port + "&mountport=" + port;
    nfs_url* url = nfs_parse_url_dir(client_, address.c_str());
    ASSERT_NE(url, nullptr) << nfs_get_error(client_);
    ASSERT_EQ(nfs_mount(client_, url->server, url->path), 0) << nfs_get_error(client_);
    nfs_destroy_url(url);
  }
  void TearDown() override {
    if (client_ != nullptr) nfs_destroy_context(client_);
  }

  nfs_context* client_ = nullptr;
};

TEST_F(Libnfs, WritesReadsAndLists) {
  ASSERT_EQ(nfs_mkdir(client_, "/directory"), 0) << nfs_get_error(client_);
  nfsfh* file = nullptr;
  ASSERT_EQ(nfs_creat(client_, "/directory/file", 0644, &file), 0) << nfs_get_error(client_);
  const std::string content = e2e::RandomBytes(7, 5'000'000);
  for (size_t at = 0; at < content.size();) {
    const int wrote =
        nfs_write(client_, file, content.size() - at, const_cast<char*>(content.data()) + at);
    ASSERT_GT(wrote, 0) << nfs_get_error(client_);
    at += static_cast<size_t>(wrote);
  }
  ASSERT_EQ(nfs_fsync(client_, file), 0) << nfs_get_error(client_);
  nfs_close(client_, file);
  ASSERT_EQ(nfs_open(client_, "/directory/file", O_RDONLY, &file), 0) << nfs_get_error(client_);
  std::string read(content.size(), '\0');
  for (size_t at = 0; at < read.size();) {
    const int got = nfs_read(client_, file, read.size() - at, read.data() + at);
    ASSERT_GT(got, 0) << nfs_get_error(client_);
    at += static_cast<size_t>(got);
  }
  EXPECT_TRUE(read == content);
  nfs_close(client_, file);
  ASSERT_EQ(nfs_rename(client_, "/directory/file", "/moved"), 0) << nfs_get_error(client_);
  nfs_stat_64 info{};
  ASSERT_EQ(nfs_stat64(client_, "/moved", &info), 0) << nfs_get_error(client_);
  EXPECT_EQ(info.nfs_size, content.size());
  nfsdir* directory = nullptr;
  ASSERT_EQ(nfs_opendir(client_, "/", &directory), 0) << nfs_get_error(client_);
  std::set<std::string> names;
  while (const nfsdirent* entry = nfs_readdir(client_, directory)) names.insert(entry->name);
  nfs_closedir(client_, directory);
  EXPECT_EQ(names, (std::set<std::string>{".", "..", "directory", "moved"}));

  // A mount of this host's kernel shows the same.
  const std::string mount = host().Mount("work", "mnt");
  EXPECT_TRUE(e2e::ReadFile(mount + "/moved") == content);
  e2e::WriteFile(mount + "/there", "and back");
  ASSERT_EQ(nfs_open(client_, "/there", O_RDONLY, &file), 0) << nfs_get_error(client_);
  char bytes[16] = {};
  EXPECT_EQ(nfs_read(client_, file, sizeof(bytes), bytes), 8);
  EXPECT_STREQ(bytes, "and back");
  nfs_close(client_, file);
}

}  // namespace
}  // namespace airstore::nfs_test
