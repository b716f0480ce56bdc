// The JDK's own client: `java Client.java URL TLSv1.2|TLSv1.3 [CA]`. It would like HTTP/2, must get HTTP/1.1, and asks
// several times at once. Without a CA every certificate will do. Status 0 if all is as expected.

import java.io.FileInputStream;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;

public class Client {
    static final int REQUESTS = 8;

    public static void main(String[] arguments) {
        try {
            run(arguments);
        } catch (Exception error) {
            System.err.println(error);
            System.exit(1);
        }
        // The client has threads that would go on for a while.
        System.exit(0);
    }

    static void run(String[] arguments) throws Exception {
        String version = arguments[1];
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust(arguments.length > 2 ? arguments[2] : null), null);
        HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_2)
            .connectTimeout(Duration.ofSeconds(20))
            .sslContext(context)
            .sslParameters(new SSLParameters(null, new String[] {version}))
            .build();
        HttpRequest request =
            HttpRequest.newBuilder(URI.create(arguments[0])).timeout(Duration.ofSeconds(20)).build();
        List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
        for (int i = 0; i < REQUESTS; i++) {
            answers.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofString()));
        }
        for (CompletableFuture<HttpResponse<String>> answer : answers) {
            HttpResponse<String> response = answer.get();
            expect("status", 200, response.statusCode());
            expect("version of HTTP", HttpClient.Version.HTTP_1_1, response.version());
            expect("version of TLS", version, response.sslSession().orElseThrow().getProtocol());
            expect("an empty body", false, response.body().isEmpty());
        }
    }

    static void expect(String what, Object expected, Object actual) {
        if (!expected.equals(actual)) {
            throw new IllegalStateException(what + " is " + actual + ", expected " + expected);
        }
    }

    static TrustManager[] trust(String file) throws Exception {
        if (file == null) {
            return new TrustManager[] {new Trusting()};
        }
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (FileInputStream input = new FileInputStream(file)) {
            int count = 0;
            for (var certificate : CertificateFactory.getInstance("X.509").generateCertificates(input)) {
                store.setCertificateEntry("ca" + count++, certificate);
            }
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory.getTrustManagers();
    }

    /** Takes every certificate, under any name. */
    static class Trusting extends X509ExtendedTrustManager {
        @Override public void checkClientTrusted(X509Certificate[] chain, String kind, Socket socket) {}
        @Override public void checkServerTrusted(X509Certificate[] chain, String kind, Socket socket) {}
        @Override public void checkClientTrusted(X509Certificate[] chain, String kind, SSLEngine engine) {}
        @Override public void checkServerTrusted(X509Certificate[] chain, String kind, SSLEngine engine) {}
        @Override public void checkClientTrusted(X509Certificate[] chain, String kind) {}
        @Override public void checkServerTrusted(X509Certificate[] chain, String kind) {}
        @Override public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }
}
