// SPDX-License-Identifier: Apache-2.0
#include "broker/gateway_address.h"

#include <gtest/gtest.h>

namespace airstore::broker {
namespace {

TEST(GatewayAddress, KnowsWhatStaysOnThisHost) {
  for (const char* text : {"localhost:1", "127.0.0.1:50051", "127.9.9.9:1", "[::1]:1", "unix:/a",
                           "unix:///a", "http://127.0.0.1:1"}) {
    const auto address = ParseGatewayAddress(text);
    ASSERT_TRUE(address) << text;
    EXPECT_TRUE(address->on_host) << text;
  }
  for (const char* text : {"example.org:443", "10.0.0.1:1", "[2001:db8::1]:1", "128.0.0.1:1",
                           "localhost.example.org:1", "https://example.org:443"}) {
    const auto address = ParseGatewayAddress(text);
    ASSERT_TRUE(address) << text;
    EXPECT_FALSE(address->on_host) << text;
  }
  EXPECT_EQ(ParseGatewayAddress("unix:///a/b")->target, "unix:/a/b");
}

TEST(GatewayAddress, RefusesWhatIsNone) {
  for (const char* text :
       {"", "host", "host:", ":1", "host:0", "host:65536", "host:1x", "a b:1", "host:1/path",
        "2001:db8::1:1", "[::1:1", "unix:", "unix:relative", "ftp://x:1", "x\n:1"}) {
    EXPECT_FALSE(ParseGatewayAddress(text)) << text;
  }
  EXPECT_FALSE(ParseGatewayAddress("unix:/" + std::string(200, 'x')));
}

TEST(GatewayAddress, SeveralAreSeveral) {
  const auto several = ParseGatewayAddresses("a:1,[::1]:2,unix:/b");
  ASSERT_TRUE(several);
  ASSERT_EQ(several->size(), 3u);
  EXPECT_EQ((*several)[0].target, "a:1");
  EXPECT_EQ((*several)[1].target, "[::1]:2");
  EXPECT_EQ((*several)[2].target, "unix:/b");
  EXPECT_EQ(ParseGatewayAddresses("a:1")->size(), 1u);
  for (const char* text : {"", ",", "a:1,", ",a:1", "a:1,,b:2", "a:1,b"}) {
    EXPECT_FALSE(ParseGatewayAddresses(text)) << text;
  }
}

TEST(GatewayAddress, OriginalClientsSpeakPlainToThese) {
  for (const char* text :
       {"localhost:1993", "127.0.0.1:1", "127.9.9.9:443", "[::1]:1", "LOCALHOST:1", "gw.local:443",
        "a.localhost:1", "gw.ns.svc:443", "gw.ns.svc.cluster.local:1", "10.1.2.3:443",
        "172.16.0.1:1", "172.31.255.255:1", "192.168.1.1:1", "[fc00::1]:1", "[fdff::1]:1"}) {
    EXPECT_TRUE(IsPlainInV1(text)) << text;
  }
  for (const char* text : {"gateway.airstore.ai:443", "gateway:1993", "8.8.8.8:80", "172.15.0.1:1",
                           "172.32.0.1:1", "192.169.0.1:1", "169.254.1.1:1", "[fe80::1]:1",
                           "[2001:db8::1]:1", "local:1", "11.0.0.1:1", "localhost.example.org:1"}) {
    EXPECT_FALSE(IsPlainInV1(text)) << text;
  }
}

}  // namespace
}  // namespace airstore::broker
