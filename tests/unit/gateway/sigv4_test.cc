// SPDX-License-Identifier: Apache-2.0
//
// Signatures against vectors that AWS has published: the examples of S3's manual, and cases of the
// aws-sig-v4-test-suite. And what credentials files may look like.
#include <gtest/gtest.h>

#include "tools/gateway/blocks/s3/s3_keys.h"
#include "tools/gateway/blocks/s3/sigv4.h"

namespace airstore::gateway {
namespace {

constexpr char kEmpty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::string SignatureOf(const std::string& authorization) {
  return authorization.substr(authorization.find("Signature=") + 10);
}

// S3's manual, "Signature calculations for the Authorization header".
class S3Manual : public testing::Test {
 protected:
  std::string Sign(RequestToSign request) {
    request.headers.emplace_back("Host", "examplebucket.s3.amazonaws.com");
    request.headers.emplace_back("x-amz-content-sha256", std::string(request.payload_sha256));
    request.headers.emplace_back("x-amz-date", "20130524T000000Z");
    return Authorization(keys_, {"us-east-1", "s3"}, AmzDate(1369353600), request);
  }
  const S3Keys keys_{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
};

TEST_F(S3Manual, GetOfARange) {
  EXPECT_EQ(Sign({"GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, kEmpty}),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_F(S3Manual, PutOfAnOddName) {
  const std::string payload = Sha256Hex({"Welcome to", " Amazon S3."});
  EXPECT_EQ(payload, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  EXPECT_EQ(SignatureOf(Sign({"PUT",
                              "/test$file.text",
                              {},
                              {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                               {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                              payload})),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_F(S3Manual, QueriesWithAndWithoutValues) {
  EXPECT_EQ(SignatureOf(Sign({"GET", "/", {{"lifecycle", ""}}, {}, kEmpty})),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  EXPECT_EQ(SignatureOf(Sign({"GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}, kEmpty})),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(SigV4, CasesOfTheTestSuite) {
  const auto sign = [](std::string_view method, std::string_view path, NameValues query,
                       NameValues headers = {}) {
    headers.emplace_back("Host", "example.amazonaws.com");
    headers.emplace_back("X-Amz-Date", "20150830T123600Z");
    return SignatureOf(Authorization(
        {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""}, {"us-east-1", "service"},
        AmzDate(1440938160), {method, path, std::move(query), std::move(headers), kEmpty}));
  };
  // get-vanilla, post-vanilla, get-vanilla-query-order-key-case, get-utf8, get-unreserved,
  // get-vanilla-utf8-query, get-header-value-trim
  EXPECT_EQ(sign("GET", "/", {}),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  EXPECT_EQ(sign("POST", "/", {}),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
  EXPECT_EQ(sign("GET", "/", {{"Param2", "value2"}, {"Param1", "value1"}}),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
  EXPECT_EQ(sign("GET", "/\u1234", {}),
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
  EXPECT_EQ(sign("GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", {}),
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f");
  EXPECT_EQ(sign("GET", "/", {{"\u1234", "bar"}}),
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04");
  EXPECT_EQ(sign("GET", "/", {}, {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}}),
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
}

TEST(S3KeysFile, ProfilesAreKeptApart) {
  constexpr char kText[] =
      "# ours\n[default]\naws_access_key_id = A\naws_secret_access_key=b=c\r\n\n"
      "[other]\n  aws_access_key_id=B\naws_secret_access_key=d\naws_session_token=t\nregion=x\n"
      "[empty]";
  auto keys = ParseS3Keys(kText, "default");
  ASSERT_TRUE(keys);
  EXPECT_EQ(keys->access_key, "A");
  EXPECT_EQ(keys->secret_key, "b=c");
  EXPECT_EQ(keys->session_token, "");
  keys = ParseS3Keys(kText, "other");
  ASSERT_TRUE(keys);
  EXPECT_EQ(keys->access_key, "B");
  EXPECT_EQ(keys->session_token, "t");
  EXPECT_EQ(ParseS3Keys(kText, "empty").error().code, EINVAL);
  EXPECT_EQ(ParseS3Keys(kText, "none").error().code, ENOENT);
  EXPECT_EQ(ParseS3Keys("", "default").error().code, ENOENT);
  const auto missing = FindS3Keys("/nowhere", "");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("/nowhere"), std::string::npos);
}

}  // namespace
}  // namespace airstore::gateway
