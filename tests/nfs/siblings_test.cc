// SPDX-License-Identifier: Apache-2.0
//
// What clients do to files that programs use through a FUSE mount of the same workspace.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

class Siblings : public ServedTest {
 protected:
  void SetUp() override {
    ServedTest::SetUp();
    if (IsSkipped()) return;
    mount_ = host().Mount("work", "mnt", {"--passthrough", "off"});
    client_ = Connect();
    root_ = client_->Mount(path());
  }
  std::string Read(const Handle& file, uint64_t offset, uint32_t bytes) {
    std::string data;
    EXPECT_EQ(client_->Read(file, offset, bytes, &data), NFS3_OK);
    return data;
  }

  std::string mount_;
  std::unique_ptr<Client> client_;
  Handle root_;
};

// The kernel of the mount has what was stored to the map, and nobody else does yet: it came first.
TEST_F(Siblings, StoresToMapsDoNotUndoWhatAClientWroteLater) {
  constexpr size_t kSize = 8192;
  const UniqueFd file = e2e::Open(mount_ + "/file", O_RDWR | O_CREAT);
  ASSERT_EQ(ftruncate(file.get(), kSize), 0);
  auto* const map =
      static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
  ASSERT_NE(static_cast<void*>(map), MAP_FAILED);
  Handle handle;
  ASSERT_EQ(client_->Lookup(root_, "file", &handle), NFS3_OK);
  for (const stable_how stable : {UNSTABLE, FILE_SYNC}) {
    memcpy(map, "xyz", 3);
    ASSERT_EQ(client_->Write(handle, 0, "NEWDATA", stable), NFS3_OK);
    EXPECT_EQ(std::string(map, 7), "NEWDATA");
    EXPECT_EQ(Read(handle, 0, 7), "NEWDATA");
    memcpy(map, "abc", 3);
    ASSERT_EQ(client_->Write(handle, 100, "NEW", stable), NFS3_OK);
    ASSERT_EQ(fsync(file.get()), 0);
    EXPECT_EQ(Read(handle, 0, 7), "abcDATA");
    EXPECT_EQ(Read(handle, 100, 3), "NEW");
    EXPECT_EQ(std::string(map + 100, 3), "NEW");
    memset(map, 0, kSize);
    ASSERT_EQ(fsync(file.get()), 0);
  }
  munmap(map, kSize);
}

// While a program has it open it can be used; that a client has written to it does not keep it.
TEST_F(Siblings, AFileWithoutANameIsThereWhileAProgramHasIt) {
  Handle file;
  fattr3 attributes{};
  ASSERT_EQ(client_->Make(root_, "file", 0666, &file), NFS3_OK);
  {
    const UniqueFd open = e2e::Open(mount_ + "/file", O_RDWR);
    ASSERT_EQ(client_->Write(file, 0, "content", UNSTABLE), NFS3_OK);
    ASSERT_EQ(unlink((mount_ + "/file").c_str()), 0);
    ASSERT_EQ(client_->Getattr(file, &attributes), NFS3_OK);
    EXPECT_EQ(attributes.nlink, 0u);
    ASSERT_EQ(client_->Write(file, 7, "!", UNSTABLE), NFS3_OK);
    char read[8];
    ASSERT_EQ(pread(open.get(), read, 8, 0), 8);
    EXPECT_EQ(std::string(read, 8), "content!");
  }
  EXPECT_TRUE(e2e::WaitUntil(std::chrono::seconds(10),
                             [&] { return client_->Getattr(file, &attributes) == NFS3ERR_STALE; }));
  EXPECT_EQ(client_->Write(file, 0, "x", UNSTABLE), NFS3ERR_STALE);
  for (const bool by_client : {true, false}) {
    ASSERT_EQ(client_->Make(root_, "file", 0666, &file), NFS3_OK);
    ASSERT_EQ(client_->Write(file, 0, "content", UNSTABLE), NFS3_OK);
    if (by_client) {
      ASSERT_EQ(client_->Remove(root_, "file"), NFS3_OK);
    } else {
      ASSERT_EQ(unlink((mount_ + "/file").c_str()), 0);
    }
    EXPECT_EQ(client_->Write(file, 0, "x", UNSTABLE), NFS3ERR_STALE) << by_client;
    EXPECT_EQ(client_->Getattr(file, &attributes), NFS3ERR_STALE) << by_client;
  }
}

}  // namespace
}  // namespace airstore::nfs_test
